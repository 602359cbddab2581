#!/bin/sh
# Installs ssh-session-notifier: the binary, its user, its directories, a first configuration and
# the schedule for `send`. Everything it needs is in this file, so that this script and the binary
# are all that has to be copied to a router. It runs in any POSIX sh, with busybox or coreutils.
#
# What is there already stays: an existing configuration or queue is never changed, and a second run
# changes nothing. PAM isn't touched either; the last line says what to add, and where.
set -eu
umask 077
LC_ALL=C
PATH=$PATH:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH

NAME=ssh-session-notifier
USAGE="usage: [DESTDIR=ROOT] [PREFIX=/usr] [SCHEDULER=KIND] ./install.sh [OPTION]...

  --binary FILE  install this binary (default: ./$NAME beside this script,
                 then target/release/$NAME)
  --dry-run      say what would be done, and do nothing
  --uninstall    remove binary and schedule; configuration, queue and user stay
  -h, --help     print this

With DESTDIR, files are put below that directory for a package: no user is created, nothing changes
its owner, nothing is started. SCHEDULER is systemd, cron.d, crontab or none; without it, what the
host has is used, in this order."

dry=no
uninstall=no
binary=
changed=no
temporary=

say() { printf '%s\n' "$*"; }

# One line that asks for attention and stops nothing.
note() { say "note: $*"; }

fail() {
    printf '%s\n' "install.sh: $*" >&2
    exit 1
}

misuse() {
    printf '%s\n' "install.sh: $*" "try: ./install.sh --help" >&2
    exit 2
}

real() { [ "$dry" = no ]; }

# Reports one action: did create|update|remove|enable WHAT.
did() {
    changed=yes
    if real; then say "${1}d $2"; else say "would $1 $2"; fi
}

clean_up() { [ -z "$temporary" ] || rm -f "$temporary"; }
trap clean_up EXIT
trap 'exit 1' HUP INT TERM

# --- Files -----------------------------------------------------------------------------------------

# Changes an owner: own OWNER:GROUP FILE. A package's files get theirs when it is installed.
own() { [ -n "$DESTDIR" ] || chown "$1" "$2"; }

# Sets `perms`, `uid` and `gid` to those of a file. stat(1) isn't everywhere.
examine() {
    read -r perms _ uid gid _ <<EOF
$(ls -ldnL "$1")
EOF
}

# Makes the directories above a file.
make_parents() { (umask 022 && mkdir -p "${1%/*}") || fail "cannot create ${1%/*}: is the file system read-only?"; }

# Makes an empty temporary file beside FILE, with its final owner and mode before anything is in it:
# begin MODE OWNER:GROUP FILE. `finish FILE` then puts it in place in one step.
begin() {
    make_parents "$3"
    temporary=$3.new.$$
    rm -f "$temporary"
    (set -C && : >"$temporary") || fail "cannot write in ${3%/*}: is the file system read-only or full?"
    own "$2" "$temporary"
    chmod "$1" "$temporary"
}

finish() {
    mv -f "$temporary" "$1"
    temporary=
}

# Puts a text from stdin into a file, unless it is there: put MODE OWNER:GROUP FILE.
put() {
    text=$(cat)
    if [ ! -e "$3" ]; then
        verb=create
    elif [ "$(cat "$3")" = "$text" ]; then
        say "unchanged $3"
        return
    else
        verb=update
    fi
    if real; then
        begin "$1" "$2" "$3"
        printf '%s\n' "$text" >"$temporary"
        finish "$3"
    fi
    did "$verb" "$3"
}

# Adds a last line to a file, whose owner and mode stay: append LINE FILE.
append() {
    # The line before may have no end.
    if [ -s "$2" ] && [ -n "$(tail -c 1 "$2")" ]; then say >>"$2"; fi
    say "$1" >>"$2"
}

# Makes a directory, unless it is there: make_directory MODE OWNER:GROUP DIRECTORY.
make_directory() {
    if [ -d "$3" ]; then
        say "unchanged $3"
        return
    fi
    if real; then
        make_parents "$3"
        mkdir "$3"
        own "$2" "$3"
        chmod "$1" "$3"
    fi
    did create "$3"
}

remove_file() {
    [ -e "$1" ] || return 0
    if real; then rm -f "$1"; fi
    did remove "$1"
}

# --- The binary ------------------------------------------------------------------------------------

find_binary() {
    [ -z "$binary" ] || return 0
    case $0 in
        */*) here=${0%/*} ;;
        *) here=. ;;
    esac
    for binary in "$here/$NAME" "$here/target/release/$NAME"; do
        [ ! -f "$binary" ] || return 0
    done
    fail "there is no binary beside this script: give one with --binary FILE, or build it: cargo build --release"
}

# Whether a binary names a loader, which would load what LD_PRELOAD names: the name stands in the first
# block, behind the headers.
has_loader() { dd if="$1" bs=1024 count=1 2>/dev/null | grep -q '/ld[-.]'; }

install_binary() {
    find_binary
    if [ ! -f "$binary" ] || [ ! -r "$binary" ] || [ ! -s "$binary" ]; then
        fail "$binary is not a readable file with something in it: give the binary with --binary FILE"
    fi
    if has_loader "$binary"; then
        note "$binary uses shared libraries. Where PAM lets users set variables (pam_env user_readenv=1), they can make it load their own code as root: take a static one (make dist)"
    fi
    verb=create
    if [ -e "$ROOT_BIN" ]; then
        verb=update
        examine "$ROOT_BIN"
        # Root runs it, so it must be root's to change.
        [ -z "$DESTDIR" ] || uid=0
        case $uid$perms in
            0-rwxr-xr-x*) if cmp -s "$binary" "$ROOT_BIN" 2>/dev/null; then verb=; fi ;;
        esac
    fi
    if [ -z "$verb" ]; then
        say "unchanged $ROOT_BIN"
        return
    fi
    if real; then
        begin 755 0:0 "$ROOT_BIN"
        cat "$binary" >"$temporary" || fail "cannot copy $binary to ${ROOT_BIN%/*}: is the file system full?"
        [ -n "$DESTDIR" ] || "$temporary" --version >/dev/null 2>&1 ||
            fail "$binary does not run on this machine: take the one for $(uname -m), and a static one"
        finish "$ROOT_BIN"
    fi
    did "$verb" "$ROOT_BIN"
}

# --- The user --------------------------------------------------------------------------------------

has_user() { id -u "$NAME" >/dev/null 2>&1; }

has_group() {
    if command -v getent >/dev/null 2>&1; then
        getent group "$NAME" >/dev/null
    else
        grep -q "^$NAME:" /etc/group
    fi
}

# A system user that nobody can log in as. Its home is the state directory, which isn't made here.
create_user() {
    if command -v useradd >/dev/null 2>&1; then
        has_group || groupadd -r "$NAME"
        shell=/bin/false
        for candidate in /sbin/nologin /usr/sbin/nologin; do
            [ ! -x "$candidate" ] || shell=$candidate
        done
        useradd -r -M -g "$NAME" -d "$STATE" -s "$shell" "$NAME"
    elif command -v adduser >/dev/null 2>&1; then
        has_group || addgroup -S "$NAME"
        adduser -S -D -H -h "$STATE" -s /bin/false -G "$NAME" "$NAME"
    else
        write_user
    fi
}

# What adduser would write. OpenWrt, and busybox as Debian builds it, have none.
write_user() {
    number=999
    while grep -q "^[^:]*:[^:]*:$number:" /etc/passwd /etc/group; do number=$((number - 1)); done
    has_group || append "$NAME:x:$number:" /etc/group
    group=$(sed -n "s/^$NAME:[^:]*:\([0-9]*\):.*/\1/p" /etc/group)
    if [ -f /etc/shadow ]; then append "$NAME:!:0:0:99999:7:::" /etc/shadow; fi
    append "$NAME:x:$number:$group::$STATE:/bin/false" /etc/passwd
}

make_user() {
    if has_user; then
        say "unchanged user $NAME"
        return
    fi
    if real; then
        create_user >&2 || true
        has_user || fail "cannot create the user $NAME: create it by hand (system user, shell /bin/false, home $STATE), then run this again"
    fi
    did create "user $NAME"
}

# --- Directories and configuration -----------------------------------------------------------------

# Makes the state directory. Whoever owns it is who both commands become, and so who `send` is
# scheduled as: sets `runs_as`.
install_state() {
    runs_as=$NAME
    if [ -n "$DESTDIR" ] || [ ! -d "$STATE" ]; then
        make_directory 700 "$owner" "$DESTDIR$STATE"
        return
    fi
    examine "$STATE"
    if [ "$uid" = "$service_uid" ]; then
        say "unchanged $STATE"
    elif [ "$uid" != 0 ]; then
        note "$STATE belongs to user $uid; to give it to the service user: chown -R $NAME: $STATE"
    elif [ -z "$(ls -A "$STATE")" ]; then
        if real; then
            own "$owner" "$STATE"
            chmod 700 "$STATE"
        fi
        did update "$STATE (now belongs to $NAME)"
        return
    else
        runs_as=root
        owner=0:0
        note "$STATE and the queue in it belong to root, so both commands stay root; to change that: chown -R $NAME: $STATE, then run this again"
    fi
    case $perms in
        d????w* | d???????w*) note "$STATE can be written by others: chmod go-rwx $STATE" ;;
    esac
    for file in "$STATE"/session_events.db*; do
        [ -e "$file" ] || continue
        file_owner=$uid
        examine "$file"
        [ "$uid" = "$file_owner" ] || note "$file and its directory have different owners: chown -R $runs_as: $STATE"
        uid=$file_owner
    done
}

# Says why `send` would refuse a configuration, or couldn't read it.
examine_config() {
    examine "$CONFIG_DIR"
    if ! may "$perms" x; then
        note "$NAME can't enter $CONFIG_DIR: chgrp $NAME $CONFIG_DIR && chmod g+rx $CONFIG_DIR"
    fi
    examine "$CONFIG"
    if [ "$uid" != 0 ] && { [ "$runs_as" = root ] || [ "$uid" != "$service_uid" ]; }; then
        note "$CONFIG belongs to user $uid, so \`send\` refuses it: chown root $CONFIG"
    fi
    case $perms in
        ?????w* | ????????w*) note "$CONFIG can be written by others, so \`send\` refuses it: chmod go-w $CONFIG" ;;
    esac
    case $perms in
        ???????r*) note "$CONFIG can be read by everybody, and the secrets in it: chgrp $NAME $CONFIG && chmod 0640 $CONFIG" ;;
    esac
    if ! may "$perms" r; then
        note "$NAME can't read $CONFIG: chgrp $NAME $CONFIG && chmod g+r $CONFIG"
    fi
}

# Whether the one that `send` runs as may do r or x to what `examine` looked at: may PERMS r|x.
may() {
    [ "$runs_as" != root ] && [ "$service_uid" != none ] || return 0
    bits=${1#?}
    if [ "$uid" = "$service_uid" ]; then
        :
    elif [ "$gid" = "$service_gid" ]; then
        bits=${bits#???}
    else
        bits=${bits#??????}
    fi
    case $2$bits in
        rr* | x??[xst]*) return 0 ;;
    esac
    return 1
}

# What the configuration calls the host at first. A package isn't built on the host it is for.
host_name() {
    if [ -n "$DESTDIR" ]; then
        host=$(cat "$DESTDIR/etc/hostname" 2>/dev/null || true)
    else
        host=$(hostname 2>/dev/null || cat /proc/sys/kernel/hostname /etc/hostname 2>/dev/null || true)
    fi
    case $host in
        '' | *[!A-Za-z0-9._-]*) host=localhost ;;
    esac
    say "$host"
}

config_template() {
    cat <<EOF
# ssh-session-notifier. A line that begins with # is off, and shows an example or the default.

[host]
# What notices call this host.
name = "$(host_name)"
# The zone of the times in them: an IANA name, or a POSIX TZ string.
# timezone = "Pacific/Auckland"

[notification]
# Where notices go. Until this is set, sessions are recorded and wait. Uncomment it, and the section
# of each service that it names below.
# service = "discord"
# service = ["discord", "ntfy"]

# [notification.discord]
# webhook_url = "https://discord.com/api/webhooks/..."
# webhook_url_file = "/etc/ssh-session-notifier/discord"

# [notification.ntfy]
# topic_url = "https://ntfy.sh/mytopic"
# token = ""
# token_file = "/etc/ssh-session-notifier/ntfy"

[allowlist]
# Addresses and networks whose sessions need no notice.
ips = []
# ips = ["10.0.0.2", "192.168.0.0/16", "fd00::/8"]

# [queue]
# path = "$STATE/session_events.db"
# spool = "$SPOOL"

# [network]
# Seconds that one request may take.
# timeout = 10
# Trust these authorities instead of the system's.
# ca_file = "/etc/ssl/my-ca.pem"
# Called after each run that left nothing overdue, so that a monitor notices when this host is dead.
# heartbeat_url = "https://hc-ping.com/..."
EOF
}

install_config() {
    if [ -n "$DESTDIR" ]; then config_owner=; else config_owner=0:$service_gid; fi
    make_directory 750 "$config_owner" "$DESTDIR$CONFIG_DIR"
    if [ -e "$DESTDIR$CONFIG" ]; then
        say "unchanged $DESTDIR$CONFIG"
        [ -n "$DESTDIR" ] || examine_config
    else
        put 640 "$config_owner" "$DESTDIR$CONFIG" <<EOF
$(config_template)
EOF
        note "say in $CONFIG where notices go: notification.service"
    fi
}

# --- systemd ---------------------------------------------------------------------------------------

# Prints where units go: the administrator's directory on a live host, the package's in a tree.
unit_dir() {
    if [ -z "$DESTDIR" ]; then
        say /etc/systemd/system
    elif [ -d "$DESTDIR/lib/systemd" ] && [ ! -d "$DESTDIR/usr/lib/systemd" ]; then
        say "$DESTDIR/lib/systemd/system"
    else
        say "$DESTDIR/usr/lib/systemd/system"
    fi
}

# Root without the capabilities of root: only those for becoming the owner of the state directory.
capabilities() { [ "$runs_as" != root ] || say "CAP_CHOWN CAP_SETGID CAP_SETUID"; }

service_unit() {
    cat <<EOF
# Written by install.sh, which also replaces it; for changes: systemctl edit $NAME.service
# (a queue elsewhere needs ReadWritePaths=, a secret under /home ProtectHome=read-only).
[Unit]
Description=Deliver notices of sessions on this host
# The .path unit starts this at every session, however many there are.
StartLimitIntervalSec=0

[Service]
Type=oneshot
ExecStart=$BIN send
User=$runs_as
TimeoutStartSec=120
# Every run's "Starting" and "Finished" would be a write to flash each minute.
LogLevelMax=notice
UMask=0077
ReadWritePaths=-$STATE -$SPOOL

CapabilityBoundingSet=$(capabilities)
LockPersonality=yes
MemoryDenyWriteExecute=yes
NoNewPrivileges=yes
PrivateDevices=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProtectSystem=strict
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
EOF
}

timer_unit() {
    cat <<EOF
# Written by install.sh, which also replaces it; for changes: systemctl edit $NAME.timer
[Unit]
Description=Deliver notices of sessions every minute

[Timer]
# Counted from the last run, not by the clock, which a board without a battery sets late.
OnActiveSec=30
OnUnitInactiveSec=60
AccuracySec=5

[Install]
WantedBy=timers.target
EOF
}

path_unit() {
    cat <<EOF
# Written by install.sh, which also replaces it; for changes: systemctl edit $NAME.path
[Unit]
Description=Deliver notices of sessions as they come

[Path]
# The hook opens the database for writing: its end is a change, whatever journal is in use.
PathChanged=$STATE/session_events.db

[Install]
WantedBy=paths.target
EOF
}

install_systemd() {
    units=$(unit_dir)
    if [ -z "$DESTDIR" ]; then conf=/etc; else conf=$DESTDIR/usr/lib; fi
    before=$changed
    changed=no
    put 644 0:0 "$units/$NAME.service" <<EOF
$(service_unit)
EOF
    put 644 0:0 "$units/$NAME.timer" <<EOF
$(timer_unit)
EOF
    put 644 0:0 "$units/$NAME.path" <<EOF
$(path_unit)
EOF
    put 644 0:0 "$conf/tmpfiles.d/$NAME.conf" <<EOF
d $SPOOL 0700 $runs_as $runs_as -
EOF
    [ -z "$DESTDIR" ] || put 644 0:0 "$conf/sysusers.d/$NAME.conf" <<EOF
u $NAME - "SSH session notifier" $STATE
EOF
    [ -n "$DESTDIR" ] || enable_units
    [ "$before" = no ] || changed=yes
}

# Starts timer and path, and again if a unit is new.
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
        systemctl daemon-reload || fail "systemd doesn't answer: run systemctl daemon-reload, then this again"
        systemctl -q enable "$NAME.timer" "$NAME.path"
        if [ -d /run/systemd/system ]; then systemctl restart "$NAME.timer" "$NAME.path"; fi
    fi
    did enable "$NAME.timer and $NAME.path"
}

remove_systemd() {
    if [ -n "$DESTDIR" ]; then
        set -- "$DESTDIR/usr/lib/systemd/system" "$DESTDIR/lib/systemd/system"
        conf=$DESTDIR/usr/lib
    else
        set -- /etc/systemd/system
        conf=/etc
        if real && [ -e "$1/$NAME.timer" ]; then
            systemctl -q disable --now "$NAME.timer" "$NAME.path" ||
                note "systemd didn't stop $NAME.timer and $NAME.path: systemctl disable --now $NAME.timer $NAME.path"
        fi
    fi
    had_units=no
    for units in "$@"; do
        [ ! -e "$units/$NAME.timer" ] || had_units=yes
        for kind in timer path service; do remove_file "$units/$NAME.$kind"; done
    done
    remove_file "$conf/tmpfiles.d/$NAME.conf"
    remove_file "$conf/sysusers.d/$NAME.conf"
    if [ "$had_units" = yes ] && [ -z "$DESTDIR" ] && real; then systemctl daemon-reload || true; fi
}

# --- cron ------------------------------------------------------------------------------------------

# Prints the directory of the crontabs: OpenWrt's and Alpine's, or the usual one.
crontab_dir() {
    for directory in /etc/crontabs /var/spool/cron/crontabs; do
        if [ -d "$DESTDIR$directory" ]; then
            say "$DESTDIR$directory"
            return
        fi
    done
}

# Busybox's crond doesn't read /etc/cron.d, even where some package left one.
has_busybox_crond() {
    for directory in /usr/sbin /sbin /usr/bin /bin; do
        [ -L "$DESTDIR$directory/crond" ] || continue
        case $(ls -l "$DESTDIR$directory/crond") in
            *busybox*) return 0 ;;
        esac
    done
    return 1
}

install_cron_d() {
    tab=$DESTDIR/etc/cron.d/$NAME
    put 644 0:0 "$tab" <<EOF
# Written by install.sh, which also replaces it.
* * * * * $runs_as $BIN send
EOF
}

install_crontab() {
    tabs=$(crontab_dir)
    [ -n "$tabs" ] || fail "there is no directory for crontabs: create /etc/crontabs, or give SCHEDULER=none"
    # It may have been another's job before the state directory changed hands.
    if [ "$runs_as" = root ]; then remove_line "$tabs/$NAME"; else remove_line "$tabs/root"; fi
    tab=$tabs/$runs_as
    if grep -Fxqs "$LINE" "$tab"; then
        say "unchanged $tab"
    elif [ -e "$tab" ]; then
        if real; then append "$LINE" "$tab"; fi
        did update "$tab"
        wake_crond "$runs_as"
    else
        put 600 0:0 "$tab" <<EOF
$LINE
EOF
        wake_crond "$runs_as"
    fi
    if [ -z "$DESTDIR" ] && [ -d /proc/self ] && command -v pidof >/dev/null 2>&1 && ! pidof crond cron >/dev/null; then
        note "crond doesn't run: enable and start it, or nothing is delivered"
    fi
}

# Takes our line out of a crontab, and the crontab away when nothing else was in it.
remove_line() {
    grep -Fxqs "$LINE" "$1" || return 0
    rest=$(grep -Fxv "$LINE" "$1" || true)
    if [ -z "$rest" ]; then
        remove_file "$1"
    else
        if real; then
            temporary=$1.new.$$
            cp -p "$1" "$temporary"
            say "$rest" >"$temporary"
            finish "$1"
        fi
        did update "$1 (without our line)"
    fi
    wake_crond "${1##*/}"
}

# Tells busybox's crond whose crontab is new: it reads and removes this file every minute.
wake_crond() {
    [ -n "$DESTDIR" ] || [ "$dry" = yes ] || say "$1" >>"$tabs/cron.update"
}

# --- The schedule ----------------------------------------------------------------------------------

find_scheduler() {
    if [ -n "${SCHEDULER-}" ]; then
        say "$SCHEDULER"
    elif [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; then
        say systemd
    elif [ -n "$DESTDIR" ] && { [ -d "$DESTDIR/usr/lib/systemd" ] || [ -d "$DESTDIR/lib/systemd" ]; }; then
        say systemd
    elif has_busybox_crond && [ -n "$(crontab_dir)" ]; then
        say crontab
    elif [ -d "$DESTDIR/etc/cron.d" ]; then
        say cron.d
    elif [ -n "$(crontab_dir)" ]; then
        say crontab
    else
        say none
    fi
}

install_schedule() {
    scheduler=$(find_scheduler)
    [ -n "$DESTDIR" ] || install_spool
    tab=
    case $scheduler in
        systemd) install_systemd ;;
        cron.d) install_cron_d ;;
        crontab) install_crontab ;;
        *) note "no systemd and no cron here: run this every minute, as $runs_as: $BIN send" ;;
    esac
    note_other_schedules
}

# The directory that tmpfiles.d makes at boot, or the hook when it needs it. What is there must go
# with the state directory, should that have changed hands.
install_spool() {
    if [ -d "$SPOOL" ]; then
        examine "$SPOOL"
        [ "$uid" != "${owner%:*}" ] || return 0
        if real; then chown -Rh "$owner" "$SPOOL"; fi
        did update "$SPOOL (now belongs to $runs_as)"
    elif [ "$scheduler" = systemd ]; then
        make_directory 700 "$owner" "$SPOOL"
    fi
}

# A second schedule does no harm (one sender at a time), but it isn't wanted either.
note_other_schedules() {
    for file in "$DESTDIR/etc/crontab" "$DESTDIR/etc/cron.d"/* "$DESTDIR/etc/crontabs"/* \
        "$DESTDIR/var/spool/cron/crontabs"/*; do
        if [ -f "$file" ] && [ "${file##*/}" != "${tab##*/}" ] && grep -q "^[^#].*$NAME.* send" "$file"; then
            note "$file runs \`send\` too: one schedule is enough"
        fi
    done
}

# --- PAM -------------------------------------------------------------------------------------------

# Looks for our line in a PAM file. Sets `ours`, `late` (it stands after what sets variables that a
# user chooses) and `loginuid`, the number of the line to stand after.
examine_pam() {
    ours=no late=no loginuid='' is_set=no number=0
    while IFS= read -r line || [ -n "$line" ]; do
        number=$((number + 1))
        case $line in
            session*"$NAME queue"* | -session*"$NAME queue"*) ours=yes late=$is_set ;;
            session*pam_env.so* | -session*pam_env.so* | session*pam_selinux.so*open*) is_set=yes ;;
            session*pam_loginuid.so* | -session*pam_loginuid.so*) [ "$is_set" = yes ] || loginuid=$number ;;
        esac
    done <"$1"
}

say_pam() {
    pam="session optional pam_exec.so quiet $BIN queue"
    file=$DESTDIR/etc/pam.d/sshd
    if [ -z "$DESTDIR" ] && [ ! -d /etc/pam.d ]; then
        note "there is no PAM on this host (no /etc/pam.d), so nothing calls the hook: install an sshd that is built with PAM"
    elif [ ! -f "$file" ]; then
        say "PAM: put this line into /etc/pam.d/sshd after pam_loginuid.so and before pam_env.so: $pam"
    else
        examine_pam "$file"
        place="as the first session line"
        [ -z "$loginuid" ] || place="directly after line $loginuid (pam_loginuid.so)"
        if [ "$late" = yes ]; then
            note "$file has the line, but after pam_env.so or pam_selinux.so open, where a user can forge variables: move it, $place"
        elif [ "$ours" = yes ]; then
            say "PAM: unchanged $file has the line"
        else
            say "PAM: put this line into $file, $place, before pam_env.so and pam_selinux.so open: $pam"
        fi
    fi
}

# Prints the PAM files that call our binary.
pam_callers() {
    for file in "$DESTDIR/etc/pam.conf" "$DESTDIR/etc/pam.d"/*; do
        if [ -f "$file" ] && grep -q "^[^#]*$BIN" "$file"; then say "$file"; fi
    done
}

# --- Everything ------------------------------------------------------------------------------------

install_all() {
    install_binary
    if [ -n "$DESTDIR" ]; then
        owner='' service_uid='' service_gid=''
    else
        make_user
        # In a dry run there may be none yet.
        service_uid=$(id -u "$NAME" 2>/dev/null || say none)
        service_gid=$(id -g "$NAME" 2>/dev/null || say none)
        owner=$service_uid:$service_gid
    fi
    install_state
    install_config
    install_schedule
    if [ -n "$DESTDIR" ]; then
        note "left to the package, when it is installed: the user $NAME; chown $NAME: $STATE; chgrp $NAME $CONFIG_DIR $CONFIG"
    elif [ "$changed" = yes ] && real; then
        sync
    fi
    say_pam
}

uninstall_all() {
    callers=$(pam_callers)
    if [ -n "$callers" ]; then
        fail "PAM still calls $BIN: first remove that line from" "$(say "$callers" | tr '\n' ' ')"
    fi
    remove_systemd
    remove_file "$DESTDIR/etc/cron.d/$NAME"
    tabs=$(crontab_dir)
    if [ -n "$tabs" ]; then
        remove_line "$tabs/$NAME"
        remove_line "$tabs/root"
    fi
    remove_file "$ROOT_BIN"
    [ "$changed" = yes ] || say "unchanged nothing of $NAME is installed"
    say "kept $DESTDIR$CONFIG_DIR, $DESTDIR$STATE and the user $NAME"
}

while [ $# -gt 0 ]; do
    case $1 in
        --binary)
            [ $# -ge 2 ] || misuse "--binary needs a FILE"
            binary=$2
            shift
            ;;
        --binary=*) binary=${1#*=} ;;
        --dry-run) dry=yes ;;
        --uninstall) uninstall=yes ;;
        -h | --help)
            say "$USAGE"
            exit 0
            ;;
        *) misuse "what is $1?" ;;
    esac
    shift
done

DESTDIR=${DESTDIR-}
DESTDIR=${DESTDIR%/}
PREFIX=${PREFIX-/usr}
PREFIX=${PREFIX%/}
case $PREFIX in
    *[!A-Za-z0-9/._+-]*) misuse "PREFIX may hold only letters, digits and /._+-: it goes into crontabs and units" ;;
    '' | /*) ;;
    *) misuse "PREFIX must begin with /" ;;
esac
case ${SCHEDULER-} in
    '' | systemd | cron.d | crontab | none) ;;
    *) misuse "SCHEDULER is systemd, cron.d, crontab or none" ;;
esac

BIN=$PREFIX/sbin/$NAME
ROOT_BIN=$DESTDIR$BIN
STATE=/var/lib/$NAME
SPOOL=/run/$NAME
CONFIG_DIR=/etc/$NAME
CONFIG=$CONFIG_DIR/config.toml
LINE="* * * * * $BIN send"

if [ -z "$DESTDIR" ] && [ "$(id -u)" != 0 ]; then
    fail "this changes the system: run it as root (sudo ./install.sh), or set DESTDIR for a package"
fi
if [ "$uninstall" = yes ]; then uninstall_all; else install_all; fi
