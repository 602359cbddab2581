//! Microsoft Teams: a workflow that posts an adaptive card when it receives a webhook request. Microsoft has changed
//! the host of such addresses, so any host is accepted.

use crate::http::Response;
use crate::json;
use crate::notifier::outcome::Reading;
use crate::notifier::{Capacity, Digest, Service, Setup, Unit, settings};
use crate::text::Field;
use crate::toml::Section;

/// A message holds 28 KB, in practice 21. JSON can double a text's length, and the card and its blocks need the rest.
pub const CAPACITY: Capacity = Capacity { limit: 10_000, unit: Unit::Bytes, around: 400, per_line: 70 };

/// Parts of Azure's error codes, each with a remedy. The first that matches counts.
const REMEDIES: [(&str, &str); 7] = [
    // Azure reports this for a deleted workflow too.
    ("NotEnabled", "the workflow is switched off or gone: switch it on, or make a new one and set its address"),
    ("Disabled", "the workflow is switched off: switch it on in Teams"),
    ("Suspended", "the workflow is suspended: check it in Power Automate"),
    ("NotFound", "the workflow is gone: make a new one and set its address"),
    ("Signature", "the address is incomplete, or its signature was renewed: copy it from the workflow again"),
    ("Authori", "the address is incomplete, or its signature was renewed: copy it from the workflow again"),
    ("Authentication", "the workflow must let anyone trigger it, and the address must be complete: copy it again"),
];

/// Reads `webhook_url`.
pub fn configure(section: &mut Section<'_>) -> Option<Setup> {
    let (url, secrets) = settings::webhook(section, "webhook_url")?;
    Some(Setup::new(Service::Teams, Some(url), secrets))
}

/// Writes an adaptive card with a block for each notice. A `TextRun` has no Markdown (adaptivecards.io).
pub fn render(digest: &Digest<'_>) -> String {
    let block = |text: &str| {
        let text = json::string(text);
        format!(r#"{{"type":"RichTextBlock","inlines":[{{"type":"TextRun","text":{text}}}]}}"#)
    };
    let blocks: Vec<String> = digest.notices.iter().map(|notice| block(&notice.text)).collect();
    format!(
        concat!(
            r#"{{"type":"message","attachments":[{{"contentType":"application/vnd.microsoft.card.adaptive","#,
            r#""content":{{"$schema":"http://adaptivecards.io/schemas/adaptive-card.json","type":"AdaptiveCard","#,
            r#""version":"1.2","body":[{}]}}}}]}}"#
        ),
        blocks.join(",")
    )
}

/// Reads Azure's answer: 202 before the message is posted, the only confirmation there is, or an error
/// `{"error": {"code": …, "message": …}}`.
pub fn read(response: &Response) -> Reading {
    let error = json::member(&response.body, "error").unwrap_or("");
    let member = |name| json::member(error.as_bytes(), name).unwrap_or("");
    let code = member("code");
    Reading {
        is_accepted: response.status == 202,
        is_about_message: code == "RequestEntityTooLarge",
        error_text: Field::new(member("message").as_bytes()),
        remedy: REMEDIES.iter().find(|(part, _)| code.contains(part)).map_or("", |(_, remedy)| remedy),
        ..Reading::default()
    }
}

#[cfg(test)]
mod tests {
    use crate::notifier::tests::{assert_outcome, mistakes, outcome_of, request_of, target};
    use crate::rules::Urgency;

    const TARGET: &str = "webhook_url = 'http://127.0.0.1/workflows/abc/triggers/manual/paths/invoke?sig=s3cret-sig'";

    #[test]
    fn strangers_text_is_not_markdown_and_each_notice_is_a_block() {
        let texts = ["<at>all</at> **x** & `y` @everyone", "[x](https://y.example) שרת"];
        let body = request_of(&target("teams", TARGET), &texts, Urgency::Normal, "").body;
        let json: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        let blocks = json["attachments"][0]["content"]["body"].as_array().expect("blocks");
        for (block, text) in blocks.iter().zip(texts) {
            let run = serde_json::json!({"type": "TextRun", "text": text});
            assert_eq!(block, &serde_json::json!({"type": "RichTextBlock", "inlines": [run]}));
        }
        assert_eq!(blocks.len(), 2);
    }

    /// P4
    #[test]
    fn each_known_answer_has_its_outcome_and_remedy() {
        let error = |code: &str| format!(r#"{{"error":{{"code":"{code}","message":"said"}}}}"#);
        for (status, body, expected) in [
            (202, String::new(), "D"),
            (200, String::new(), "D"),
            (200, "<html>".into(), "F"),
            (400, error("WorkflowTriggerIsNotEnabled"), "R the workflow is switched off or gone"),
            (400, error("TriggerInputSchemaMismatch"), "R check the settings"),
            (401, error("DirectApiAuthorizationRequired"), "R the address is incomplete"),
            (404, error("WorkflowNotFound"), "R the workflow is gone"),
            (413, error("RequestEntityTooLarge"), "X"),
            (413, String::new(), "R a server in between"),
            (429, error("WorkflowTriggerThrottled"), "T60"),
            (503, String::new(), "F"),
        ] {
            assert_outcome(&outcome_of(&target("teams", TARGET), status, &body), expected, &body);
        }
        assert!(mistakes("teams", "").contains("teams.webhook_url is missing"));
        assert!(mistakes("teams", "webhook_url = 'http://h/'").contains("must be the webhook's whole address"));
    }

    /// P7
    #[test]
    fn the_signature_is_concealed() {
        assert_eq!(target("teams", TARGET).conceal("it has s3cret-sig in it"), "it has … in it");
    }
}
