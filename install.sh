#!/bin/sh
# Installs ssh-session-notifier: the binary, its user, its directories, a first configuration and the
# schedule for `send`; with --pam also the lines in PAM's files. This script and the binary are all that has
# to be copied to a router. It runs in any POSIX sh, with busybox or coreutils.
#
# It never changes an existing configuration or queue, and a second run changes nothing. Every run first
# rehearses all steps without changing anything, so that most failures come before the first change.
set -eu
umask 077
LC_ALL=C
PATH=$PATH:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH

NAME=ssh-session-notifier
USAGE="usage: [PREFIX=/usr] ./install.sh [OPTION]...

  --binary FILE     install this binary (default: $NAME in this
                    script's directory, or the one that \`make dist\` built for this machine)
  --pam SERVICES    add the hook to the PAM files of these services: --pam sshd,login,su,sudo
  --scheduler KIND  systemd, openrc, procd, cron.d, crontab or none (default: the one this host has)
  --state DIR       keep the queue here (default: queue.path in the configuration, or /var/lib/$NAME)
  --config DIR      keep config.toml here (default: /etc/$NAME)
  --from-go         take over from the Go program: its user, its schedule and its PAM lines too
  --root DIR        install into the image whose root directory is DIR
  --dry-run         show what would be done, and change nothing
  --uninstall       remove PAM lines, schedule and binary; keep configuration, queue and user
  --purge           with --uninstall: remove configuration, queue and user too
  -h, --help        print this

With DESTDIR, files go below that directory, for a package: no user is created, no owner is changed and
nothing is enabled."

dry=no
uninstall=no
purge=no
from_go=no
binary=
services=
chosen_scheduler=
changed=no
temporary=
ROOT=
# live, image or package
target=live

say() { printf '%s\n' "$*"; }

# Prints one line that needs the administrator's attention.
note() { say "note: $*"; }

fail() {
    printf '%s\n' "install.sh: $*" >&2
    exit 1
}

misuse() {
    printf '%s\n' "install.sh: $*" "try: ./install.sh --help" >&2
    exit 2
}

# Runs a command that must succeed: must PURPOSE COMMAND... Its own message becomes part of ours.
must() {
    purpose=$1
    shift
    why=$("$@" 2>&1 >/dev/null) || fail "cannot $purpose: ${why##*: }"
}

real() { [ "$dry" = no ]; }
live() { [ "$target" = live ]; }

# Reports one action: did create|update|remove|enable THING.
did() {
    changed=yes
    if real; then say "${1}d $2"; else say "would $1 $2"; fi
}

clean_up() { [ -z "$temporary" ] || rm -f "$temporary"; }
trap clean_up EXIT
trap 'exit 1' HUP INT TERM

# --- Files -----------------------------------------------------------------------------------------

# Prints where a path of the target is on this machine. Links in an image are followed as the booted image
# would follow them, so that none leads out of it.
at() {
    if [ -z "$ROOT" ]; then
        say "$1"
        return
    fi
    resolved='' rest=$1 links=0
    while [ -n "$rest" ]; do
        part=${rest%%/*}
        case $rest in
            */*) rest=${rest#*/} ;;
            *) rest= ;;
        esac
        case $part in
            '' | .) continue ;;
            ..) resolved=${resolved%/*} ;;
            *)
                if [ -L "$ROOT$resolved/$part" ]; then
                    links=$((links + 1))
                    [ "$links" -le 40 ] || fail "$1 in $ROOT is a link that leads back to itself: remove it"
                    link=$(ls -ld "$ROOT$resolved/$part")
                    link=${link#* -> }
                    rest=$link/$rest
                    case $link in
                        /*) resolved= ;;
                    esac
                else
                    resolved=$resolved/$part
                fi
                ;;
        esac
    done
    say "$ROOT$resolved"
}

# Changes an owner, or does nothing if OWNER:GROUP is empty: own OWNER:GROUP FILE.
own() { [ -z "$1" ] || must "change the owner of $2" chown "$1" "$2"; }

# Sets `perms`, `uid` and `gid` to those of a file. Not every host has stat(1).
examine() {
    read -r perms _ uid gid _ <<EOF
$(ls -ldnL "$1")
EOF
}

# Fails if FILE can't be created, judging by the nearest directory above it that exists.
need_writable() {
    above=${1%/*}
    while [ ! -e "${above:-/}" ]; do above=${above%/*}; done
    above=${above:-/}
    [ -d "$above" ] || fail "cannot create $1: $above is a file, not a directory"
    if [ -w "$above" ]; then
        # Busybox believes that root can write everywhere; giving the directory to its own owner is a real test.
        ! live || (examine "$above" && chown "$uid:$gid" "$above") 2>/dev/null || fail_read_only "$above"
    else
        fail_read_only "$above"
    fi
}

fail_read_only() {
    fail "cannot write in $1: if the file system is read-only, mount -o remount,rw it, run this again, then mount" \
        "-o remount,ro it; or choose other directories with PREFIX, --state and --config"
}

# Makes the directories above a file.
make_parents() {
    [ -d "${1%/*}" ] || (umask 022 && mkdir -p "${1%/*}" 2>/dev/null) || fail "cannot create ${1%/*}: is the file" \
        "system full?"
}

# Makes an empty temporary file in FILE's directory, which has its final owner and mode before anything is in
# it: begin MODE OWNER:GROUP FILE. `finish FILE` then renames it to FILE.
begin() {
    make_parents "$3"
    temporary=$3.new.$$
    rm -f "$temporary"
    (set -C && : >"$temporary") 2>/dev/null || fail "cannot write in ${3%/*}: is the file system full?"
    own "$2" "$temporary"
    must "change the mode of $temporary" chmod "$1" "$temporary"
}

# Fills the temporary file from stdin.
fill() { cat >"$temporary" 2>/dev/null || fail "cannot write $temporary: is the file system full?"; }

finish() {
    must "write $1" mv -f "$temporary" "$1"
    temporary=
}

# Writes stdin to a file, unless it has that text already: put MODE OWNER:GROUP FILE.
put() {
    text=$(cat)
    file=$(at "$3")
    if [ ! -e "$file" ]; then
        verb=create
    elif [ "$(cat "$file")" = "$text" ]; then
        say "unchanged $file"
        return
    else
        verb=update
    fi
    need_writable "$file"
    if real; then
        begin "$1" "$2" "$file"
        say "$text" | fill
        finish "$file"
    fi
    did "$verb" "$file"
}

# Replaces a file's text with stdin and keeps its owner and mode: replace FILE.
replace() {
    need_writable "$1"
    if real; then
        temporary=$1.new.$$
        must "write in ${1%/*}" cp -p "$1" "$temporary"
        fill
        finish "$1"
    else
        cat >/dev/null
    fi
}

# Appends a line to a file: append LINE FILE.
append() {
    {
        cat "$2"
        # The last line may lack its newline.
        if [ -s "$2" ] && [ -n "$(tail -c 1 "$2")" ]; then say; fi
        say "$1"
    } | replace "$2"
}

# Makes a directory unless it exists: make_directory MODE OWNER:GROUP DIRECTORY.
make_directory() {
    directory=$(at "$3")
    if [ -d "$directory" ]; then
        say "unchanged $directory"
        return
    fi
    need_writable "$directory"
    if real; then
        make_parents "$directory"
        must "create $directory" mkdir "$directory"
        own "$2" "$directory"
        must "change the mode of $directory" chmod "$1" "$directory"
    fi
    did create "$directory"
}

# Makes a symbolic link in an image: make_link TARGET LINK.
make_link() {
    link_file=$(at "${2%/*}")/${2##*/}
    if [ -L "$link_file" ]; then
        say "unchanged $link_file"
        return
    fi
    need_writable "$link_file"
    if real; then
        make_parents "$link_file"
        must "create $link_file" ln -s "$1" "$link_file"
    fi
    did create "$link_file"
}

# Removes a file or a link of the target.
remove_file() {
    file=$(at "${1%/*}")/${1##*/}
    if [ ! -e "$file" ] && [ ! -L "$file" ]; then return; fi
    need_writable "$file"
    if real; then must "remove $file" rm -f "$file"; fi
    did remove "$file"
}

# Removes a directory of the target with everything in it.
remove_tree() {
    directory=$(at "$1")
    [ -d "$directory" ] || return 0
    need_writable "$directory"
    if real; then must "remove $directory" rm -rf "$directory"; fi
    did remove "$directory"
}

# Prints the type of the file system that a path of this host is on, or nothing without /proc.
file_system() {
    place=$1
    while [ ! -d "$place" ]; do place=${place%/*} place=${place:-/}; done
    place=$(cd "$place" && pwd -P)
    [ ! -r /proc/mounts ] || awk -v place="${place%/}/" '
        { mount = $2; sub(/\/?$/, "/", mount) }
        index(place, mount) == 1 && length(mount) >= best { best = length(mount); kind = $3 }
        END { print kind }' /proc/mounts
}

# --- The binary ------------------------------------------------------------------------------------

find_binary() {
    [ -z "$binary" ] || return 0
    case $0 in
        */*) here=${0%/*} ;;
        *) here=. ;;
    esac
    case $(uname -m) in
        x86_64) arch=x86_64 ;;
        aarch64 | arm64) arch=aarch64 ;;
        armv7* | armv8*) arch=armv7 ;;
        *) arch= ;;
    esac
    for binary in "$here/$NAME" ${arch:+"$here/$NAME-full-$arch"-* "$here/$NAME-appliance-$arch"-* \
        "$here/$NAME-lan-$arch"-* "$here/dist/$NAME-full-$arch"-* "$here/dist/$NAME-appliance-$arch"-* \
        "$here/dist/$NAME-lan-$arch"-*}; do
        [ ! -f "$binary" ] || return 0
    done
    [ -n "$arch" ] || fail "there is no static build for $(uname -m), only for x86_64, aarch64 and armv7: build the" \
        "program on this machine (make build) and name it with --binary FILE"
    fail "there is no binary for $arch in $here: put $NAME-full-$arch-... there (make dist TARGET=$arch-... builds" \
        "it), or name it with --binary FILE"
}

# Whether a binary names a loader, and so would obey LD_PRELOAD. The name is in the first block, after the
# headers.
has_loader() { dd if="$1" bs=1024 count=1 2>/dev/null | grep -q '/ld[-.]'; }

install_binary() {
    find_binary
    if [ ! -f "$binary" ] || [ ! -r "$binary" ] || [ ! -s "$binary" ]; then
        fail "cannot install $binary: it is missing, unreadable or empty; name the binary with --binary FILE"
    fi
    if has_loader "$binary"; then
        note "$binary uses shared libraries. If PAM lets users set variables (pam_env user_readenv=1), they can" \
            "make it load their own code as root: install a static one (make dist)"
    fi
    file=$(at "$BIN")
    verb=create
    if [ -e "$file" ]; then
        verb=update
        examine "$file"
        # Root runs it, so nobody else may be able to change it.
        [ "$target" != package ] || uid=0
        case $uid$perms in
            0-rwxr-xr-x*) if cmp -s "$binary" "$file" 2>/dev/null; then verb=; fi ;;
        esac
    fi
    if [ -z "$verb" ]; then
        say "unchanged $file"
        return
    fi
    need_writable "$file"
    if real; then
        begin 755 "$root_owner" "$file"
        fill <"$binary"
        ! live || "$temporary" --version >/dev/null 2>&1 ||
            fail "$binary does not run on this machine: it may be for another processor than $(uname -m) or need" \
                "libraries; install a static one for $(uname -m)"
        finish "$file"
    fi
    did "$verb" "$file"
}

# --- The user --------------------------------------------------------------------------------------

# Prints a field of our user's line in a file of the target: entry passwd|group FIELD.
entry() {
    if live && [ "$1" = passwd ]; then
        case $2 in
            3) id -u "$NAME" 2>/dev/null || true ;;
            4) id -g "$NAME" 2>/dev/null || true ;;
        esac
    elif [ -r "$(at "/etc/$1")" ]; then
        awk -F: -v name="$NAME" -v field="$2" '$1 == name { print $field; exit }' "$(at "/etc/$1")"
    fi
}

has_group() {
    if live && command -v getent >/dev/null 2>&1; then
        getent group "$NAME" >/dev/null
    else
        [ -n "$(entry group 3)" ]
    fi
}

# Creates a system user without a login. Another step makes its home, the state directory.
create_user() {
    if live && command -v useradd >/dev/null 2>&1; then
        has_group || groupadd -r "$NAME"
        shell=/bin/false
        for candidate in /sbin/nologin /usr/sbin/nologin; do
            [ ! -x "$candidate" ] || shell=$candidate
        done
        useradd -r -M -g "$NAME" -d "$STATE" -s "$shell" "$NAME"
    elif live && command -v adduser >/dev/null 2>&1; then
        has_group || addgroup -S "$NAME"
        adduser -S -D -H -h "$STATE" -s /bin/false -G "$NAME" "$NAME"
    else
        write_user
    fi
}

# Writes what adduser would: an image, OpenWrt and Debian's busybox have no adduser.
write_user() {
    passwd=$(at /etc/passwd) group=$(at /etc/group) shadow=$(at /etc/shadow)
    number=999
    while grep -q "^[^:]*:[^:]*:$number:" "$passwd" "$group"; do number=$((number - 1)); done
    has_group || append "$NAME:x:$number:" "$group"
    group=$(entry group 3)
    if [ -f "$shadow" ]; then append "$NAME:!:0:0:99999:7:::" "$shadow"; fi
    append "$NAME:x:$number:$group::$STATE:/bin/false" "$passwd"
}

make_user() {
    if [ -n "$(entry passwd 3)" ]; then
        say "unchanged user $NAME"
        return
    fi
    if ! live && [ ! -f "$(at /etc/passwd)" ]; then
        [ "$(find_scheduler)" = systemd ] || note "the image has no /etc/passwd: create the system user $NAME in" \
            "it, with the home $STATE"
        return
    fi
    need_writable "$(at /etc/passwd)"
    if real; then
        create_user >&2 || true
        [ -n "$(entry passwd 3)" ] ||
            fail "cannot create the user $NAME (see above): create it yourself (a system user with the shell" \
                "/bin/false and the home $STATE), then run this again"
    fi
    did create "user $NAME"
}

# Busybox's crond starts a job in its user's home, so the home has to move with the state directory.
move_home() {
    passwd=$(at /etc/passwd)
    home=$(entry_home)
    if [ -z "$home" ] || [ "$home" = "$STATE" ]; then return; fi
    awk -F: -v OFS=: -v name="$NAME" -v home="$STATE" '$1 == name { $6 = home } { print }' "$passwd" | replace "$passwd"
    did update "user $NAME (home $STATE)"
}

entry_home() {
    [ ! -r "$(at /etc/passwd)" ] || awk -F: -v name="$NAME" '$1 == name { print $6; exit }' "$(at /etc/passwd)"
}

# --- Directories and configuration -----------------------------------------------------------------

# Prints a setting of the section [queue] if there is a configuration: queue_setting KEY.
queue_setting() {
    [ -r "$(at "$CONFIG")" ] || return 0
    awk -v key="$1" '
        { sub(/^[ \t]+/, "") }
        /^\[/ { sub(/#.*/, ""); gsub(/[][ \t"]/, ""); section = $0; next }
        section == "queue" && $0 ~ "^" key "[ \t]*=" || section == "" && $0 ~ "^queue[ \t]*\\.[ \t]*" key "[ \t]*=" {
            sub(/^[^=]*=[ \t]*/, "")
            quote = substr($0, 1, 1)
            $0 = substr($0, 2)
            print substr($0, 1, index($0, quote) - 1)
            exit
        }' "$(at "$CONFIG")"
}

# Sets where the queue and the spool are. An existing configuration decides; --state may not contradict it.
find_places() {
    QUEUE=$(queue_setting path)
    SPOOL=$(queue_setting spool)
    SPOOL=${SPOOL:-/run/$NAME}
    if [ ! -e "$(at "$CONFIG")" ]; then
        QUEUE=${state:-/var/lib/$NAME}/session_events.db
    else
        QUEUE=${QUEUE:-/var/lib/$NAME/session_events.db}
        [ -z "$state" ] || [ "$state" = "${QUEUE%/*}" ] || [ "$uninstall" = yes ] ||
            fail "--state $state contradicts $CONFIG, which says that the queue is $QUEUE: to move it, change" \
                "queue.path there, move the directory, then run this again without --state"
    fi
    for path in "$QUEUE" "$SPOOL"; do
        case $path in
            /*/* | /*) ;;
            *) fail "$path in $CONFIG does not begin with /: write the full path" ;;
        esac
        case $path in
            *[!A-Za-z0-9/._+-]*) fail "$path has a character that crontabs and units can't take: use letters," \
                "digits and /._+- only" ;;
        esac
    done
    STATE=${QUEUE%/*}
}

# Makes the state directory. Both commands become its owner, so `send` is scheduled as that user: sets
# `runs_as`.
install_state() {
    runs_as=$NAME
    state_owner=$owner
    if ! live || [ ! -d "$STATE" ]; then
        make_directory 700 "$owner" "$STATE"
        note_ram
        return
    fi
    note_ram
    [ "$from_go" = no ] || take_over_state
    examine "$STATE"
    if [ "$uid" = "$service_uid" ] || { [ "$from_go" = yes ] && [ "$dry" = yes ]; }; then
        say "unchanged $STATE"
    elif [ "$uid" != 0 ]; then
        note "$STATE belongs to user $uid, not to $NAME, which runs \`send\`: to change that, chown -R $NAME: $STATE"
    elif [ -z "$(ls -A "$STATE")" ]; then
        need_writable "$STATE/."
        if real; then
            own "$owner" "$STATE"
            must "change the mode of $STATE" chmod 700 "$STATE"
        fi
        did update "$STATE (now belongs to $NAME)"
        return
    else
        runs_as=root
        state_owner=0:0
        note "$STATE and the queue in it belong to root, so both commands stay root: to change that, chown -R" \
            "$NAME: $STATE, then run this again"
    fi
}

note_ram() {
    live || return 0
    case $(file_system "$STATE") in
        tmpfs | ramfs) note "$STATE is in RAM, so a reboot or a power cut loses the pending notices: keep" \
            "the queue on flash with --state /srv/$NAME, or queue.path in $CONFIG" ;;
    esac
}

# Gives root's queue to the service user while logins and `send` go on. First the files change owner, then the
# two directories together: until then both commands are root and can open everything, and afterwards they are
# the service user, who owns every file.
take_over_state() {
    examine "$STATE"
    if [ "$uid" = "$service_uid" ]; then return; fi
    [ "$uid" = 0 ] || fail "$STATE belongs to user $uid, not to root as the Go program left it: run chown -R $NAME:" \
        "$STATE if that is right, then run this again"
    need_writable "$STATE/."
    if real; then
        must "change the mode of $STATE" chmod 700 "$STATE"
        own_files
        spool=
        if [ -d "$SPOOL" ]; then spool=$SPOOL; fi
        must "change the owner of $STATE" chown -h "$owner" "$STATE" ${spool:+"$spool"}
        own_files
    fi
    did update "$STATE (it and the queue now belong to $NAME)"
}

# Gives every file in both directories to the service user. A command that began as root may still add files,
# so this is done again at the end.
own_files() {
    for place in "$STATE"/* "$SPOOL"/* "$SPOOL"/.[!.]*; do
        # Another process may have removed it.
        chown -Rh "$owner" "$place" 2>/dev/null || [ ! -e "$place" ] || fail "cannot change the owner of $place:" \
            "run chown -Rh $owner $place to see why"
    done
}

# Lets only the service user read a configuration that only root could read.
take_over_config() {
    files=$(awk -F'"' '/^[^#]*_file[ \t]*=/ { print $2 }' "$CONFIG")
    for place in "$CONFIG_DIR" "$CONFIG" $files; do
        [ -e "$place" ] || continue
        case $place in
            "$CONFIG_DIR" | "$CONFIG_DIR"/*) ;;
            *)
                note "$NAME must be able to read $place: chgrp $NAME $place && chmod 640 $place"
                continue
                ;;
        esac
        if [ -d "$place" ]; then mode=750; else mode=640; fi
        examine "$place"
        case $mode$uid:$gid$perms in
            "7500:${service_gid}drwxr-x---"* | "6400:$service_gid-rw-r-----"*) continue ;;
        esac
        need_writable "$place"
        if real; then
            must "change the owner of $place" chown "0:$service_gid" "$place"
            must "change the mode of $place" chmod "$mode" "$place"
        fi
        did update "$place (now readable by $NAME)"
    done
}

# Prints the host's name for the first configuration. A package or an image isn't built on its host.
host_name() {
    if live; then
        host=$(hostname 2>/dev/null || cat /proc/sys/kernel/hostname /etc/hostname 2>/dev/null || true)
    else
        host=$(cat "$(at /etc/hostname)" 2>/dev/null || true)
    fi
    case $host in
        '' | *[!A-Za-z0-9._-]*) host=localhost ;;
    esac
    say "$host"
}

config_template() {
    off='# '
    [ "$QUEUE" = "/var/lib/$NAME/session_events.db" ] || off=
    cat <<EOF
# ssh-session-notifier. Lines that begin with # are off; they show an example or the default.

[host]
# The name of this host in notices.
name = "$(host_name)"
# The time zone of notices: an IANA name, or a POSIX TZ string.
# timezone = "Pacific/Auckland"

[notification]
# Where notices go. Until this is set, sessions are recorded but nothing is sent. Uncomment one line, and the
# section of each service that it names.
# service = "discord"
# service = ["discord", "ntfy"]

# [notification.discord]
# webhook_url = "https://discord.com/api/webhooks/..."
# webhook_url_file = "$CONFIG_DIR/discord"

# [notification.ntfy]
# topic_url = "https://ntfy.sh/mytopic"
# token = ""
# token_file = "$CONFIG_DIR/ntfy"

[allowlist]
# Addresses and networks whose sessions need no notice.
ips = []
# ips = ["10.0.0.2", "192.168.0.0/16", "fd00::/8"]

${off}[queue]
${off}path = "$QUEUE"
# spool = "$SPOOL"

# [network]
# Seconds that one request may take.
# timeout = 10
# Trust these authorities instead of the system's.
# ca_file = "/etc/ssl/my-ca.pem"
# Requested after each run that left nothing overdue, so that a monitor can tell when this host is down.
# heartbeat_url = "https://hc-ping.com/..."
EOF
}

install_config() {
    config_owner=
    if [ -n "$owner" ]; then config_owner=0:$service_gid; fi
    make_directory 750 "$config_owner" "$CONFIG_DIR"
    if [ -e "$(at "$CONFIG")" ]; then
        if [ "$from_go" = yes ]; then take_over_config; fi
        say "unchanged $(at "$CONFIG")"
    else
        put 640 "$config_owner" "$CONFIG" <<EOF
$(config_template)
EOF
        note "nothing is sent until $CONFIG says where notices go: set notification.service"
    fi
}

# --- systemd ---------------------------------------------------------------------------------------

# Prints where units go: the administrator's directory on a live host, the distribution's in a tree.
unit_dir() {
    if live; then
        say /etc/systemd/system
    elif [ -d "$(at /lib/systemd)" ] && [ ! -d "$(at /usr/lib/systemd)" ]; then
        say /lib/systemd/system
    else
        say /usr/lib/systemd/system
    fi
}

# The capabilities that root keeps: those for becoming the owner of the state directory.
capabilities() { [ "$runs_as" != root ] || say "CAP_CHOWN CAP_SETGID CAP_SETUID"; }

# ProtectHome=yes would hide a state directory below /home.
protect_home() {
    case $STATE/$CONFIG_DIR in
        */home/* | */root/*) say no ;;
        *) say yes ;;
    esac
}

service_unit() {
    cat <<EOF
# install.sh wrote this and may overwrite it: make changes with systemctl edit $NAME.service
# (a secret below /home needs ProtectHome=read-only).
[Unit]
Description=Deliver notices of sessions on this host
RequiresMountsFor=$STATE $CONFIG_DIR
# The .path unit starts this at every session, and there may be many.
StartLimitIntervalSec=0

[Service]
Type=oneshot
# Skips the run until the configuration names a service, instead of failing every minute.
ExecCondition=/bin/sh -c 'grep -q "^[^#]*service" $CONFIG; [ \$\$? -ne 1 ]'
ExecStart=$BIN$OPTIONS send
User=$runs_as
TimeoutStartSec=120
# Keeps "Starting" and "Finished" out of the journal: a write to flash every minute.
LogLevelMax=notice
UMask=0077
ReadWritePaths=-$STATE -$SPOOL

# No ProtectProc: \`send\` looks at other processes to see which sessions have ended.
CapabilityBoundingSet=$(capabilities)
DevicePolicy=closed
LockPersonality=yes
MemoryDenyWriteExecute=yes
NoNewPrivileges=yes
PrivateDevices=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=$(protect_home)
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectSystem=strict
RemoveIPC=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
SystemCallFilter=$(denied_calls)
EOF
}

# System calls in @system-service that \`send\` doesn't need. Root needs @privileged to change its user.
denied_calls() {
    if [ "$runs_as" = root ]; then say "~@resources"; else say "~@privileged @resources"; fi
}

timer_unit() {
    cat <<EOF
# install.sh wrote this and may overwrite it: make changes with systemctl edit $NAME.timer
[Unit]
Description=Deliver notices of sessions every minute

[Timer]
# Counts from the last run: the wall clock of a board without a battery is wrong after a boot.
OnActiveSec=30
OnUnitInactiveSec=60
AccuracySec=5

[Install]
WantedBy=timers.target
EOF
}

path_unit() {
    cat <<EOF
# install.sh wrote this and may overwrite it: make changes with systemctl edit $NAME.path
[Unit]
Description=Deliver notices of sessions as they come

[Path]
# The hook opens the database for writing, so closing it counts as a change even if only the -wal file changed.
PathChanged=$QUEUE

[Install]
WantedBy=paths.target
EOF
}

# Whether a target runs another program. The program needs its own rights: sendmail is often setgid.
runs_programs() { grep -Eqs '^[^#]*(["'\'']command["'\'']|sendmail[[:space:]]*=[[:space:]]*[^f[:space:]])' "$(at "$CONFIG")"; }

programs_unit() {
    cat <<EOF
# install.sh wrote this because a target runs a program (command, sendmail).
[Service]
# Exim's sendmail leaves a process behind that delivers.
KillMode=process
CapabilityBoundingSet=~
NoNewPrivileges=no
ProtectSystem=full
# Each of these would imply NoNewPrivileges for any user but root.
LockPersonality=no
MemoryDenyWriteExecute=no
PrivateDevices=no
ProtectClock=no
ProtectHostname=no
ProtectKernelLogs=no
ProtectKernelModules=no
ProtectKernelTunables=no
RestrictAddressFamilies=
RestrictNamespaces=no
RestrictRealtime=no
RestrictSUIDSGID=no
SystemCallArchitectures=
SystemCallFilter=
EOF
}

remove_drop_in() {
    remove_file "$1/$NAME.service.d/programs.conf"
    # The administrator's own drop-ins stay.
    if real; then rmdir "$(at "$1/$NAME.service.d")" 2>/dev/null || true; fi
}

install_systemd() {
    units=$(unit_dir)
    if live; then conf=/etc; else conf=/usr/lib; fi
    before=$changed
    changed=no
    put 644 "$root_owner" "$units/$NAME.service" <<EOF
$(service_unit)
EOF
    put 644 "$root_owner" "$units/$NAME.timer" <<EOF
$(timer_unit)
EOF
    put 644 "$root_owner" "$units/$NAME.path" <<EOF
$(path_unit)
EOF
    if runs_programs; then
        put 644 "$root_owner" "$units/$NAME.service.d/programs.conf" <<EOF
$(programs_unit)
EOF
    else
        remove_drop_in "$units"
    fi
    put 644 "$root_owner" "$conf/tmpfiles.d/$NAME.conf" <<EOF
d $SPOOL 0700 $runs_as $runs_as -
$(live || tree_owners)
EOF
    if live; then
        enable_units
    else
        put 644 "$root_owner" "$conf/sysusers.d/$NAME.conf" <<EOF
u $NAME - "SSH session notifier" $STATE
EOF
        put 644 "$root_owner" "${units%/system}/system-preset/50-$NAME.preset" <<EOF
enable $NAME.timer
enable $NAME.path
EOF
    fi
    if [ "$target" = image ]; then
        make_link "$units/$NAME.timer" "/etc/systemd/system/timers.target.wants/$NAME.timer"
        make_link "$units/$NAME.path" "/etc/systemd/system/paths.target.wants/$NAME.path"
    fi
    [ "$before" = no ] || changed=yes
}

# Lines for tmpfiles.d: in a tree, the user may not exist yet, so these set the owners at boot.
tree_owners() {
    cat <<EOF
d $STATE 0700 $NAME $NAME -
d $CONFIG_DIR 0750 root $NAME -
z $CONFIG 0640 root $NAME -
EOF
}

# Enables and starts timer and path unit; restarts them if a unit changed.
enable_units() {
    is_on=yes
    for unit in "$NAME.timer" "$NAME.path"; do
        systemctl -q is-enabled "$unit" 2>/dev/null && systemctl -q is-active "$unit" 2>/dev/null || is_on=no
    done
    if [ "$is_on" = yes ] && [ "$changed" = no ]; then
        say "unchanged $NAME.timer and $NAME.path are on"
        return
    fi
    if real; then
        must "reload systemd's units" systemctl daemon-reload
        must "enable the units" systemctl -q enable "$NAME.timer" "$NAME.path"
        if [ -d /run/systemd/system ]; then must "start the units" systemctl restart "$NAME.timer" "$NAME.path"; fi
    fi
    did enable "$NAME.timer and $NAME.path"
}

remove_systemd() {
    if live; then
        set -- /etc/systemd/system
        conf=/etc
        if real && [ -e "$1/$NAME.timer" ] && command -v systemctl >/dev/null 2>&1; then
            systemctl -q disable --now "$NAME.timer" "$NAME.path" 2>/dev/null ||
                note "systemd did not stop $NAME.timer and $NAME.path: run systemctl disable --now $NAME.timer" \
                    "$NAME.path"
        fi
    else
        set -- /usr/lib/systemd/system /lib/systemd/system
        conf=/usr/lib
    fi
    had_units=no
    for units in "$@"; do
        [ ! -e "$(at "$units/$NAME.timer")" ] || had_units=yes
        for kind in timer path service; do remove_file "$units/$NAME.$kind"; done
        remove_drop_in "$units"
    done
    for kind in timer path; do remove_file "/etc/systemd/system/${kind}s.target.wants/$NAME.$kind"; done
    remove_file "$conf/tmpfiles.d/$NAME.conf"
    remove_file "$conf/sysusers.d/$NAME.conf"
    for units in "$@"; do remove_file "${units%/system}/system-preset/50-$NAME.preset"; done
    if [ "$had_units" = yes ] && live && real; then systemctl daemon-reload 2>/dev/null || true; fi
}

# --- OpenRC and procd ------------------------------------------------------------------------------

openrc_service() {
    cat <<EOF
#!/sbin/openrc-run
# install.sh wrote this and may overwrite it.
description="Delivers notices of sessions on this host"
supervisor=supervise-daemon
command=$BIN
command_args="$(say "$OPTIONS send --watch" | sed 's/^ //')"
command_user=$runs_as
# No limit: somebody may correct the configuration at any time.
respawn_delay=60
respawn_max=0

depend() {
	need localmount
	use net logger dns
}
EOF
}

procd_service() {
    cat <<EOF
#!/bin/sh /etc/rc.common
# install.sh wrote this and may overwrite it.
USE_PROCD=1
START=95
STOP=10

start_service() {
	procd_open_instance
	procd_set_param command $BIN$OPTIONS send --watch
	procd_set_param user $runs_as
	# Restarts after a minute, without a limit: somebody may correct the configuration at any time.
	procd_set_param respawn 3600 60 0
	procd_close_instance
}
EOF
}

# Installs `send --watch` as a service: install_service openrc|procd.
install_service() {
    before=$changed
    changed=no
    if [ "$1" = openrc ]; then
        place=/etc/runlevels/default/$NAME
        text=$(openrc_service)
    else
        place=/etc/rc.d/S95$NAME
        text=$(procd_service)
    fi
    put 755 "$root_owner" "/etc/init.d/$NAME" <<EOF
$text
EOF
    if [ "$target" = image ]; then
        if [ "$1" = openrc ]; then link=/etc/init.d/$NAME; else link=../init.d/$NAME; fi
        make_link "$link" "$place"
    elif live && { [ "$changed" = yes ] || [ ! -L "$place" ]; }; then
        if real; then start_service "$1"; fi
        did enable "the service $NAME"
    fi
    [ "$before" = no ] || changed=yes
}

start_service() {
    if [ "$1" = openrc ]; then
        must "enable the service" rc-update -q add "$NAME" default
        [ ! -e /run/openrc/softlevel ] || must "start the service" rc-service -q "$NAME" restart
    else
        must "enable the service" "/etc/init.d/$NAME" enable
        must "start the service" "/etc/init.d/$NAME" restart
    fi
}

remove_service() {
    script=$(at "/etc/init.d/$NAME")
    if live && real && [ -e "$script" ]; then
        if grep -q rc.common "$script"; then
            "$script" stop >/dev/null 2>&1 || true
            "$script" disable >/dev/null 2>&1 || true
        else
            rc-service -q "$NAME" stop >/dev/null 2>&1 || true
            rc-update -q del "$NAME" default >/dev/null 2>&1 || true
        fi
    fi
    remove_file "/etc/runlevels/default/$NAME"
    remove_file "/etc/rc.d/S95$NAME"
    remove_file "/etc/init.d/$NAME"
}

# --- cron ------------------------------------------------------------------------------------------

# Prints the directory of the crontabs: that of OpenWrt and Alpine, or the usual one.
crontab_dir() {
    for directory in /etc/crontabs /var/spool/cron/crontabs; do
        if [ -d "$(at "$directory")" ]; then
            say "$directory"
            return
        fi
    done
}

# Whether a cron that reads /etc/cron.d is installed: its binary contains the name of that directory. The
# directory alone proves nothing: busybox's crond ignores it.
reads_cron_d() {
    [ -d "$(at /etc/cron.d)" ] || return 1
    for program in /usr/sbin/cron /usr/sbin/crond /sbin/crond /usr/bin/crond /bin/crond; do
        if grep -q '/etc/cron\.d' "$(at "$program")" 2>/dev/null; then return 0; fi
    done
    return 1
}

install_cron_d() {
    put 644 "$root_owner" "/etc/cron.d/$NAME" <<EOF
# install.sh wrote this and may overwrite it.
* * * * * $runs_as $BIN$OPTIONS send
EOF
}

install_crontab() {
    tabs=$(crontab_dir)
    [ -n "$tabs" ] || fail "there is neither /etc/crontabs nor /var/spool/cron/crontabs: install cron, or give" \
        "--scheduler none"
    # Before the state directory changed its owner, the other user's crontab may have had the line.
    if [ "$runs_as" = root ]; then remove_line "$tabs/$NAME"; else remove_line "$tabs/root"; fi
    tab=$(at "$tabs/$runs_as")
    if grep -Fxqs "$LINE" "$tab"; then
        say "unchanged $tab"
    elif [ -e "$tab" ]; then
        append "$LINE" "$tab"
        did update "$tab"
        wake_crond "$runs_as"
    else
        put 600 "$root_owner" "$tabs/$runs_as" <<EOF
$LINE
EOF
        wake_crond "$runs_as"
    fi
    if live && [ -d /proc/self ] && command -v pidof >/dev/null 2>&1 && ! pidof crond cron >/dev/null; then
        note "no cron daemon is running, so nothing is delivered: enable and start crond"
    fi
}

# Matches a line of a crontab that runs our binary's `send` and nothing else.
OURS="^\\([-*/0-9,]\\{1,\\}[ 	]\\{1,\\}\\)\\{5\\}[^ ]*/sbin/$NAME\\( --config [^ ]*\\)\\{0,1\\} send *$"

# Removes our lines from a crontab of the target, and the crontab itself if nothing else was in it.
remove_line() {
    crontab=$(at "$1")
    grep -qs "$OURS" "$crontab" || return 0
    rest=$(grep -v "$OURS" "$crontab" || true)
    if [ -z "$rest" ]; then
        remove_file "$1"
    else
        say "$rest" | replace "$crontab"
        did update "$crontab (without our line)"
    fi
    wake_crond "${1##*/}"
}

# Makes busybox's crond read the user's crontab again: it reads and removes the file cron.update every minute.
wake_crond() {
    if ! live || ! real; then return; fi
    if [ "$uninstall" = yes ] && ! pidof crond >/dev/null 2>&1; then
        # Without a crond, nothing would ever remove the file.
        if grep -Fxqs "$1" "$tabs/cron.update"; then remove_file "$tabs/cron.update"; fi
        return
    fi
    say "$1" 2>/dev/null >>"$tabs/cron.update" || fail "cannot write $tabs/cron.update: is the file system full?"
}

remove_crontabs() {
    tabs=$(crontab_dir)
    [ -n "$tabs" ] || return 0
    remove_line "$tabs/$NAME"
    remove_line "$tabs/root"
}

# --- The schedule ----------------------------------------------------------------------------------

find_scheduler() {
    if [ -n "$chosen_scheduler" ]; then
        say "$chosen_scheduler"
    elif live && [ -d /run/systemd/system ]; then
        say systemd
    elif ! live && { [ -d "$(at /usr/lib/systemd)" ] || [ -d "$(at /lib/systemd)" ]; }; then
        say systemd
    elif [ -e "$(at /sbin/openrc-run)" ] && { ! live || [ -d /run/openrc ]; }; then
        say openrc
    elif [ -e "$(at /sbin/procd)" ] && [ -e "$(at /etc/rc.common)" ]; then
        say procd
    elif reads_cron_d; then
        say cron.d
    elif [ -n "$(crontab_dir)" ]; then
        say crontab
    else
        say none
    fi
}

install_schedule() {
    scheduler=$(find_scheduler)
    ! live || install_spool
    # Removes the schedule of an earlier run first, so that there is only one.
    case $scheduler in systemd) ;; *) remove_systemd ;; esac
    case $scheduler in openrc | procd) ;; *) remove_service ;; esac
    [ "$scheduler" = cron.d ] || remove_file "/etc/cron.d/$NAME"
    [ "$scheduler" = crontab ] || remove_crontabs
    case $scheduler in
        systemd) install_systemd ;;
        openrc | procd) install_service "$scheduler" ;;
        cron.d) install_cron_d ;;
        crontab) install_crontab ;;
        none) note "nothing is scheduled, so nothing is delivered yet: run this every minute as $runs_as:" \
            "$BIN$OPTIONS send" ;;
    esac
    note_other_schedules
}

# Gives the spool the owner of the state directory, which may have changed. Without systemd's tmpfiles.d, the
# hook makes the spool when it needs it.
install_spool() {
    if [ -d "$SPOOL" ]; then
        examine "$SPOOL"
        if [ "$uid" = "${state_owner%:*}" ] || [ -z "$state_owner" ]; then return; fi
        need_writable "$SPOOL/."
        if real; then must "change the owner of $SPOOL" chown -Rh "$state_owner" "$SPOOL"; fi
        did update "$SPOOL (now belongs to $runs_as)"
    elif [ "$scheduler" = systemd ]; then
        make_directory 700 "$state_owner" "$SPOOL"
    fi
}

# A second schedule does no harm, because a lock allows one sender at a time, but it is of no use.
note_other_schedules() {
    ours=
    [ "$scheduler" != crontab ] || ours=$(at "$(crontab_dir)/$runs_as")
    for directory in /etc/cron.d /etc/crontabs /var/spool/cron/crontabs /var/spool/cron /etc; do
        directory=$(at "$directory")
        for file in "$directory"/*; do
            case $file in
                "$ours" | */cron.d/"$NAME") continue ;;
                */crontab | */cron*/*) ;;
                *) continue ;;
            esac
            if [ -f "$file" ] && grep -q "^[^#].*$NAME.* send" "$file"; then
                note "$file also runs \`send\`, and one schedule is enough: remove it there"
            fi
        done
    done
}

# Names our files that OpenWrt's sysupgrade would delete.
note_sysupgrade() {
    list=$(at /etc/sysupgrade.conf)
    [ -e "$list" ] || return 0
    missing=
    for place in "$BIN" "$CONFIG_DIR/" "$STATE/" "/etc/init.d/$NAME" "/etc/rc.d/S95$NAME" /etc/pam.d/; do
        [ -e "$(at "$place")" ] || continue
        grep -Fxqs "$place" "$list" || missing="$missing $place"
    done
    [ -z "$missing" ] || note "sysupgrade deletes these unless you add them to /etc/sysupgrade.conf:$missing"
}

# --- PAM -------------------------------------------------------------------------------------------

# Prints the PAM file of a service in the target. The administrator's comes before the distribution's.
pam_file() {
    for directory in /etc/pam.d /usr/etc/pam.d /usr/lib/pam.d; do
        if [ -f "$(at "$directory/$1")" ]; then
            say "$directory/$1"
            return
        fi
    done
}

# Prints the session entries of a PAM file as FIRST LAST KIND, with the numbers of their first and last lines.
# KIND is ours, environment (sets variables that a user chooses, or enters the user's SELinux context),
# loginuid, include:SERVICE, branch (may skip what follows) or other.
pam_entries() {
    awk -v name="$NAME" '
        { if (text == "") first = NR; line = $0 }
        line ~ /\\$/ { sub(/\\$/, " ", line); text = text line; next }
        { entry(text line); text = "" }
        function entry(line, control, words) {
            sub(/#.*/, "", line)
            sub(/^[ \t]+/, "", line)
            if (line ~ /^@include[ \t]/) {
                split(line, words, /[ \t]+/)
                print first, NR, "include:" words[2]
                return
            }
            if (line !~ /^-?session[ \t]/) return
            sub(/^-?session[ \t]+/, "", line)
            control = line
            if (line ~ /^\[/) control = substr(line, 1, index(line, "]")); else sub(/[ \t].*/, "", control)
            line = substr(line, length(control) + 1)
            if (control == "include" || control == "substack") {
                split(line, words, /[ \t]+/)
                print first, NR, "include:" words[2]
            } else print first, NR, kind(line, control)
        }
        function kind(line, control) {
            if (line ~ name "([ \t].*)?[ \t]queue([ \t]|$)") return "ours"
            if (line ~ /pam_env\.so/ || line ~ /pam_selinux\.so.*[ \t]open/) return "environment"
            if (line ~ /pam_loginuid\.so/) return "loginuid"
            if (control ~ /^(sufficient|requisite)$|done|die|=[0-9]/) return "branch"
            return "other"
        }' "$(at "$1")"
}

# Whether a service has an entry of that kind (or `any`), in its own file or in one that it includes:
# has_entry SERVICE KIND DEPTH.
has_entry() (
    file=$(pam_file "$1")
    [ -n "$file" ] && [ "$3" -lt 8 ] || exit 1
    pam_entries "$file" | {
        while read -r _ _ found; do
            case $found in
                include:*) if has_entry "${found#include:}" "$2" $(($3 + 1)); then exit 0; fi ;;
                *) if [ "$2" = any ] || [ "$2" = "$found" ]; then exit 0; fi ;;
            esac
        done
        exit 1
    }
)

# Reads a PAM file and sets: `ours`, the lines of our entries, as FIRST-LAST; `late`, whether an entry that
# lets the user set variables comes before ours; `through`, an included file that calls the hook; `after`, the
# number of the line after which ours belongs; `place`, the same in words.
examine_pam() {
    ours='' late=no through='' after='' top='' is_straight=yes is_set=no
    while read -r begin end found; do
        case $found in
            '') continue ;;
            ours)
                ours="$ours $begin-$end"
                late=$is_set
                continue
                ;;
            include:*)
                included=${found#include:}
                has_entry "$included" any 0 || continue
                if has_entry "$included" ours 0; then through=$included; fi
                if has_entry "$included" environment 0; then found=environment; else found=branch; fi
                ;;
        esac
        [ -n "$top" ] || top=$((begin - 1))
        [ "$is_set" = no ] || continue
        case $found in
            environment) is_set=yes ;;
            branch) is_straight=no ;;
            loginuid) if [ "$is_straight" = yes ]; then after=$end; fi ;;
        esac
    done <<EOF
$(pam_entries "$1")
EOF
    if [ -n "$after" ]; then
        place="directly after line $after (pam_loginuid.so)"
    else
        after=${top:-end}
        place="as the first session line"
    fi
}

# Prints the line for a service. Users start su and sudo themselves, so there seteuid makes the hook root's
# from the start: otherwise they could kill it.
pam_line() {
    case $1 in
        sshd | login) say "session optional pam_exec.so quiet $BIN$OPTIONS queue" ;;
        *) say "session optional pam_exec.so quiet seteuid $BIN$OPTIONS queue" ;;
    esac
}

# Prints a PAM file without our entries and, if LINE is given, with it in the right place: pam_text FILE [LINE].
pam_text() {
    awk -v entries="$ours" -v line="${2-}" -v after="$after" '
        BEGIN {
            count = split(entries, entry, " ")
            for (i = 1; i <= count; i++) {
                split(entry[i], range, "-")
                for (number = range[1]; number <= range[2]; number++) is_ours[number + 0] = 1
            }
            if (after == "0" && line != "") print line
        }
        !(NR in is_ours) { print }
        NR == after && after != "end" && line != "" { print line }
        END { if (after == "end" && line != "") print line }' "$1"
}

# Prints our line for its new place, with the old one's options for pam_exec: type=..., log=... and debug.
moved_line() {
    number=${ours# }
    number=${number%%[- ]*}
    kept=$(sed -n "${number}p" "$1" | awk '{
        for (i = 1; i <= NF; i++) if ($i ~ /^(type=|log=|debug$)/) printf " %s", $i
    }')
    line=$(pam_line "$service")
    say "${line%% "$BIN"*}$kept $BIN${line#*"$BIN"}"
}

# Opens and closes a session of root as the service would.
opens_session() {
    set -- pamtester "$1" root open_session close_session
    if command -v timeout >/dev/null 2>&1; then set -- timeout 60 "$@"; fi
    "$@" </dev/null >/dev/null 2>&1
}

can_open_sessions() { live && command -v pamtester >/dev/null 2>&1; }

# Replaces a PAM file with stdin, and restores it if no session opens any more. The backup stays: change_pam
# SERVICE FILE.
change_pam() {
    need_writable "$2"
    if ! real; then
        cat >/dev/null
        return
    fi
    judged=no
    if can_open_sessions && opens_session "$1"; then judged=yes; fi
    backup=$(at "$CONFIG_DIR")/pam.d/$1
    make_parents "$backup"
    must "keep a copy of $2" cp -p "$2" "$backup"
    replace "$2"
    if [ "$judged" = no ]; then
        can_open_sessions && note "pamtester could not open a session of $1 even before the change, so the change" \
            "is not tested: log in once more before you close this session"
        return 0
    fi
    if ! opens_session "$1"; then
        replace "$2" <"$backup"
        fail "no session of $1 opened with the hook in $2, so the file is as it was: pamtester $1 root open_session" \
            "may say why"
    fi
    say "checked $2: a session of root was opened and closed; the first notices report it"
}

hook_pam() {
    service=$1
    source=$(pam_file "$service")
    examine_pam "$source"
    # Follows a link, because PAM reads the file behind it.
    file=$(at "/etc/pam.d/$service")
    if live && [ -L "$file" ]; then file=$(readlink -f "$file"); fi
    if [ -z "$ours" ] && [ -n "$through" ]; then
        say "unchanged $file: $through, which it includes, has the line"
        return
    fi
    case $ours in
        ' '*' '*) late=yes ;;
        ' '*) [ "$from_go" = no ] || sed -n "${ours#*-}p" "$file" | grep -q 'pam_exec\.so.*quiet' || late=yes ;;
    esac
    if [ -n "$ours" ] && [ "$late" = no ]; then
        say "unchanged $file has the line"
        return
    fi
    if [ -n "$ours" ]; then line=$(moved_line "$(at "$source")"); else line=$(pam_line "$service"); fi
    if [ ! -e "$file" ]; then
        need_writable "$file"
        if real; then must "copy $source" cp -p "$(at "$source")" "$file"; fi
    fi
    pam_text "$(at "$source")" "$line" | change_pam "$service" "$file"
    did update "$file (the line stands $place)"
}

# Fails if a service of --pam would never call the hook.
check_services() {
    [ -z "$services" ] || [ -d "$(at /etc/pam.d)" ] || [ -d "$(at /usr/lib/pam.d)" ] ||
        fail "there is no PAM on this host (no /etc/pam.d), so nothing would call the hook: install an sshd that is" \
            "built with PAM (OpenWrt, Alpine: openssh-server-pam)"
    for service in $services; do
        [ "$service" != sshd ] || check_sshd
        [ -n "$(pam_file "$service")" ] || fail "there is no /etc/pam.d/$service: check the spelling, install the" \
            "package that has it, or leave $service out of --pam"
    done
}

# Fails if the SSH server is dropbear or an sshd without PAM, which would never call the hook.
check_sshd() {
    for sshd in /usr/sbin/sshd.pam /usr/sbin/sshd /usr/local/sbin/sshd ''; do
        [ ! -e "$(at "$sshd")" ] || [ -z "$sshd" ] || break
    done
    if [ -z "$sshd" ]; then
        for dropbear in /usr/sbin/dropbear /usr/bin/dropbear; do
            [ ! -e "$(at "$dropbear")" ] ||
                fail "this host has dropbear, which opens no PAM session, so the hook would never run: install" \
                    "openssh-server with PAM (OpenWrt, Alpine: openssh-server-pam), or leave sshd out of --pam"
        done
        fail "there is no sshd on this host: install one with PAM, or leave sshd out of --pam"
    fi
    if live && settings=$("$sshd" -T 2>/dev/null) && [ -n "$settings" ]; then
        uses=$(say "$settings" | sed -n 's/^usepam //p')
    else
        # sshd_config includes these files at its beginning, and the first setting counts (Fedora's is there).
        uses=$(cat "$(at /etc/ssh/sshd_config.d)"/*.conf "$(at /etc/ssh/sshd_config)" 2>/dev/null |
            sed -n 's/^[ 	]*[Uu][Ss][Ee][Pp][Aa][Mm][ 	=]*\([A-Za-z]*\).*/\1/p' | head -n 1)
        grep -q libpam "$(at "$sshd")" || uses=
        # Since 9.8, another program handles sessions and calls PAM.
        for session in /usr/lib/openssh/sshd-session /usr/libexec/openssh/sshd-session /usr/lib/ssh/sshd-session; do
            if grep -qs libpam "$(at "$session")"; then uses=${uses:-no}; fi
        done
    fi
    case $uses in
        [Yy][Ee][Ss]) ;;
        '') fail "$sshd is built without PAM, or does not use it: install one with PAM (OpenWrt, Alpine:" \
            "openssh-server-pam) and set UsePAM yes in /etc/ssh/sshd_config" ;;
        *) fail "$sshd does not use PAM: set UsePAM yes in /etc/ssh/sshd_config and restart it, then run this again" ;;
    esac
    if live && command -v pidof >/dev/null 2>&1 && pidof dropbear >/dev/null 2>&1; then
        note "dropbear is running too and opens no PAM sessions, so its logins are not noticed: stop and disable it"
    fi
}

hook_services() {
    # The Go program's line may be in other files too.
    [ "$from_go" = no ] || services="$services $(direct_callers)"
    is_hooked=' '
    for service in $services; do
        case $is_hooked in *" $service "*) continue ;; esac
        is_hooked="$is_hooked$service "
        for other in $services; do
            if [ "$other" != "$service" ] && includes "$service" "$other"; then
                note "$service includes $other: one of them is enough, so only $other gets the line"
                continue 2
            fi
        done
        hook_pam "$service"
        for other in "$service-l" "$service-i"; do
            case " $services " in *" $other "*) continue ;; esac
            [ -n "$(pam_file "$other")" ] || continue
            if includes "$other" "$service"; then
                say "unchanged $other includes $service, which is enough"
            else
                note "$other doesn't include $service, so its sessions are not noticed: add $other to --pam"
            fi
        done
    done
}

# Whether a service's session entries include another service: includes SERVICE OTHER.
includes() {
    has_entry "$2" any 0 && pam_entries "$(pam_file "$1")" | grep -q " include:$2\$"
}

# Prints the services whose own file calls the hook.
direct_callers() {
    for directory in /etc/pam.d /usr/etc/pam.d /usr/lib/pam.d; do
        directory=$(at "$directory")
        for file in "$directory"/*; do
            if [ -f "$file" ] && grep -q "^[^#]*pam_exec\\.so.*$NAME.* queue" "$file"; then say "${file##*/}"; fi
        done
    done
}

say_pam() {
    file=$(at /etc/pam.d/sshd)
    if [ -n "$services" ]; then
        return
    elif live && [ ! -d /etc/pam.d ]; then
        note "there is no PAM on this host (no /etc/pam.d), so nothing calls the hook: install an sshd that is" \
            "built with PAM"
    elif [ ! -f "$file" ]; then
        say "PAM: put this line into /etc/pam.d/sshd after pam_loginuid.so and before pam_env.so: $(pam_line sshd)"
    else
        examine_pam /etc/pam.d/sshd
        if [ -n "$ours$through" ]; then
            say "PAM: unchanged $file has the line"
        else
            say "PAM: put this line into $file, $place, before pam_env.so and pam_selinux.so open, or run this" \
                "again with --pam sshd: $(pam_line sshd)"
        fi
    fi
}

# Removes our lines from PAM's files. Fails if a file calls the binary in another way: removing the binary
# could then lock everybody out.
unhook_pam() {
    for file in "$(at /etc/pam.conf)" "$(at /etc/pam.d)"/*; do
        if [ -f "$file" ] && grep "^[^#]*/$NAME" "$file" | grep -qv '^-\{0,1\}session.*pam_exec\.so.* queue'; then
            fail "$file calls $NAME in a way that this script does not know: remove that line, then run this again"
        fi
    done
    for service in $(direct_callers); do
        source=$(pam_file "$service")
        examine_pam "$source"
        [ -n "$ours" ] || continue
        file=$(at "$source")
        after=none
        pam_text "$file" | change_pam "$service" "$file"
        did update "$file (without our line)"
    done
}

# --- Everything ------------------------------------------------------------------------------------

install_all() {
    check_services
    find_places
    install_binary
    service_uid='' service_gid='' owner=''
    if [ "$target" != package ]; then
        make_user
        # A dry run may come before there is a user.
        service_uid=$(entry passwd 3)
        service_gid=$(entry passwd 4)
        if [ -n "$root_owner" ] && [ -n "$service_uid" ]; then owner=$service_uid:$service_gid; fi
        [ -z "$service_uid" ] || move_home
    fi
    install_state
    install_config
    install_schedule
    hook_services
    note_sysupgrade
    if [ "$from_go" = yes ] && real; then own_files; fi
    if [ "$target" = package ]; then
        note "the package must create the user $NAME when it is installed, then chown $NAME: $STATE and chgrp $NAME" \
            "$CONFIG_DIR $CONFIG"
    elif [ "$changed" = yes ] && real; then
        sync
    fi
    say_pam
}

# Runs the program's own check, and shows the next steps.
check_all() {
    if ! live || ! real; then return; fi
    "$BIN"${OPTIONS:+ --config "$CONFIG"} check || true
    say "next: 1. set notification.service in $CONFIG, if you have not done so"
    say "next: 2. $BIN$OPTIONS check"
    say "next: 3. $BIN$OPTIONS test, then log in once more and read the notice before you close this session"
}

# Prints each path at which a schedule or PAM looks for our binary: PREFIX may have been another one.
installed_binaries() {
    for place in "$BIN" "/usr/sbin/$NAME" "/usr/local/sbin/$NAME"; do say "$place"; done
    for directory in /etc/systemd/system /usr/lib/systemd/system /lib/systemd/system /etc/cron.d /etc/init.d \
        /etc/crontabs /var/spool/cron/crontabs /etc/pam.d; do
        directory=$(at "$directory")
        for file in "$directory"/*; do
            case $file in
                */pam.d/* | */"$NAME" | */"$NAME.service" | */root) ;;
                *) continue ;;
            esac
            [ ! -f "$file" ] || sed -n "s|^[^#]*[ =]\(/[A-Za-z0-9/._+-]*/sbin/$NAME\).*|\1|p" "$file"
        done
    done
}

uninstall_all() {
    find_places
    binaries=$(installed_binaries)
    unhook_pam
    remove_systemd
    remove_service
    remove_file "/etc/cron.d/$NAME"
    remove_crontabs
    for place in $binaries; do remove_file "$place"; done
    [ "$purge" = no ] || purge_all
    remove_spool
    [ "$changed" = yes ] || say "unchanged: nothing of $NAME is installed"
    [ "$purge" = yes ] || say "kept $(at "$CONFIG_DIR"), $(at "$STATE") and the user $NAME: --purge removes them"
}

# Removes a directory of ours, or only our files from one that may hold others:
# purge_directory DIRECTORY FILE-PATTERN...
purge_directory() {
    case $1 in
        */"$NAME") remove_tree "$1" ;;
        *)
            directory=$(at "$1")
            shift
            for pattern in "$@"; do
                for file in "$directory"/$pattern; do
                    [ -e "$file" ] || continue
                    need_writable "$file"
                    if real; then must "remove $file" rm -rf "$file"; fi
                    did remove "$file"
                done
            done
            if [ -d "$directory" ] && real; then
                rmdir "$directory" 2>/dev/null || say "kept $directory: it holds other files"
            fi
            ;;
    esac
}

purge_all() {
    purge_directory "$STATE" "${QUEUE##*/}*" orphans
    purge_directory "$CONFIG_DIR" config.toml pam.d
    purge_directory "$SPOOL" 'event-*' 'notes-*' '.event-*' '.said-*' .full sender
    [ "$target" = package ] || purge_user
}

purge_user() {
    [ -n "$(entry passwd 3)" ] || return 0
    if real; then
        if live && command -v userdel >/dev/null 2>&1; then
            must "remove the user $NAME" userdel "$NAME"
        elif live && command -v deluser >/dev/null 2>&1; then
            must "remove the user $NAME" deluser "$NAME"
        else
            for file in passwd shadow; do remove_entry "$file"; done
        fi
        remove_entry group
    fi
    did remove "user $NAME"
}

# Removes our line from a file such as /etc/passwd.
remove_entry() {
    file=$(at "/etc/$1")
    if ! grep -qs "^$NAME:" "$file"; then return; fi
    grep -v "^$NAME:" "$file" | replace "$file"
}

# Removes the spool with the record of the sender's last run, unless it holds pending events.
remove_spool() {
    directory=$(at "$SPOOL")
    [ -d "$directory" ] || return 0
    waiting=
    for file in "$directory"/* "$directory"/.[!.]*; do
        case ${file##*/} in
            sender | .said-* | .full) ;;
            *) if [ -e "$file" ]; then waiting=yes; fi ;;
        esac
    done
    if [ -n "$waiting" ]; then
        say "kept $directory: it holds pending events"
    else
        need_writable "$directory"
        if real; then
            must "empty $directory" rm -rf "$directory/sender" "$directory/.full" "$directory"/.said-*
            must "remove $directory" rmdir "$directory"
        fi
        did remove "$directory"
    fi
}

# Goes through all steps without changing anything, so that a failure comes before the first change.
rehearse() { (dry=yes && "$1") >/dev/null; }

# Fails unless a path is safe in units, crontabs and shell lines: check_path NAME PATH.
check_path() {
    case $2 in
        *[!A-Za-z0-9/._+-]*) misuse "$1 has a character that crontabs and units can't take: use letters, digits and" \
            "/._+- only" ;;
        '' | /*) ;;
        *) misuse "$1 must begin with /" ;;
    esac
}

state=
CONFIG_DIR=/etc/$NAME
while [ $# -gt 0 ]; do
    case $1 in
        --binary | --pam | --scheduler | --state | --config | --root)
            [ $# -ge 2 ] || misuse "$1 needs a value"
            option=$1=$2
            shift
            ;;
        *) option=$1 ;;
    esac
    value=${option#*=}
    case $option in
        --binary=*) binary=$value ;;
        --pam=*) services=$(say "$value" | tr ',' ' ') ;;
        --scheduler=*) chosen_scheduler=$value ;;
        --state=?*) state=${value%/} ;;
        --config=?*) CONFIG_DIR=${value%/} ;;
        --root=?*) ROOT=$value target=image ;;
        --from-go) from_go=yes ;;
        --dry-run) dry=yes ;;
        --uninstall) uninstall=yes ;;
        --purge) purge=yes ;;
        -h | --help)
            say "$USAGE"
            exit 0
            ;;
        *) misuse "unknown option: $1" ;;
    esac
    shift
done

if [ -n "${DESTDIR-}" ]; then
    [ "$target" = live ] || misuse "--root (for an image) and DESTDIR (for a package) exclude each other: give one" \
        "of them"
    ROOT=$DESTDIR
    target=package
fi
while [ "$ROOT" != "${ROOT%/}" ]; do ROOT=${ROOT%/}; done
[ -n "$ROOT" ] || [ "$target" = live ] || misuse "--root and DESTDIR cannot be /: leave them out to install on this" \
    "host"
[ "$target" != image ] || [ -d "$ROOT" ] || fail "--root $ROOT is not a directory: name the root directory of the image"
[ "$purge" = no ] || [ "$uninstall" = yes ] || misuse "--purge works only with --uninstall"
[ "$from_go" = no ] || [ "$target" = live ] || misuse "--from-go works only on a running host: leave out --root and" \
    "DESTDIR"
PREFIX=${PREFIX-/usr}
PREFIX=${PREFIX%/}
check_path PREFIX "$PREFIX"
check_path --state "$state"
check_path --config "$CONFIG_DIR"
case $services in
    *[!A-Za-z0-9._\ -]*) misuse "--pam takes names of files in /etc/pam.d, separated by commas" ;;
esac
case $chosen_scheduler in
    '' | systemd | openrc | procd | cron.d | crontab | none) ;;
    *) misuse "unknown scheduler: $chosen_scheduler: give systemd, openrc, procd, cron.d, crontab or none" ;;
esac

BIN=$PREFIX/sbin/$NAME
CONFIG=$CONFIG_DIR/config.toml
OPTIONS=
[ "$CONFIG_DIR" = "/etc/$NAME" ] || OPTIONS=" --config $CONFIG"
LINE="* * * * * $BIN$OPTIONS send"
root_owner=
if [ "$target" != package ] && [ "$(id -u)" = 0 ]; then root_owner=0:0; fi

for tool in awk cmp grep sed; do
    command -v "$tool" >/dev/null 2>&1 || fail "$tool is not installed: install it (busybox has it)"
done
if live && [ "$(id -u)" != 0 ]; then
    fail "only root can change this system: run it as root (sudo ./install.sh), or set DESTDIR for a package"
fi
if [ "$uninstall" = yes ]; then work=uninstall_all; else work=install_all; fi
! real || rehearse "$work"
"$work"
[ "$uninstall" = yes ] || check_all
