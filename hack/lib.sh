# Shared by the scripts in hack/; sourced, never run. Linux only: it reads /proc.
# shellcheck shell=bash

# shellcheck disable=SC2034 # of use to those who source this
HACK=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck disable=SC2034
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/connection-operator

say() { printf '%s\n' "$*" >&2; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# ldconfig stands beside the tools of root, which is not on everybody's path. Read to its end: a pipe into what stops at the first match
# fails under `pipefail` whenever the writer is the slower of the two.
ldconfig_has() {
  local libraries
  libraries=$(PATH=$PATH:/usr/sbin:/sbin ldconfig -p 2>/dev/null) && [[ $libraries == *"$1 "* ]]
}

# usage: what the head of the script says.
usage() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; }

# tail_of FILE [LINES]: the end of a log, indented, on stderr.
tail_of() {
  [ -s "$1" ] || return 0
  say "  the end of $1:"
  tail -n "${2:-15}" "$1" | cut -c1-400 | sed 's/^/    /' >&2
}

# listened_at PORT: whether somebody listens there. Nobody is connected to: a test may count who comes.
listened_at() { grep -qE "^ *[0-9]+: [0-9A-F]+:$(printf '%04X' "$1") [0-9A-F]+:0000 0A " /proc/net/tcp /proc/net/tcp6 2>/dev/null; }
# free_ports N: N different loopback ports nobody listens on. They are taken from below the range the kernel hands to outgoing
# connections, and the tests to theirs, so that only another server can snatch one before it is used; callers start again with other ports then.
free_ports() {
  local n=$1 port taken=' '
  while [ "$n" -gt 0 ]; do
    port=$((12000 + RANDOM % 10000))
    case $taken in *" $port "*) continue ;; esac
    if listened_at "$port"; then continue; fi
    taken+="$port "
    echo "$port"
    n=$((n - 1))
  done
}

# A process is remembered as "pid start-time name": a number alone may be somebody else's by the time we stop it.
started() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }
remember() { printf '%s %s %s\n' "$2" "$(started "$2")" "$3" >>"$1"; }
# alive PIDS NAME: is the process of that name in the file PIDS still there (and not a zombie)?
alive() {
  local pid start name
  while read -r pid start name; do
    [ "$name" = "$2" ] || continue
    # with a number: a bare `return` inside a trap means the status from before the trap
    if [ -n "$start" ] && [ "$(started "$pid")" = "$start" ] && [ "$(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null | cut -c1)" != Z ]; then
      return 0
    fi
    return 1
  done <"$1"
  return 1
}
# log_has FILE TEXT
log_has() { grep -qF -- "$2" "$1" 2>/dev/null; }
# comes PIDS NAME COMMAND...: waits until the command succeeds; 1 as soon as the process is dead, and after STARTING=300 seconds
comes() {
  local pids=$1 name=$2 end=$((SECONDS + ${STARTING:-300}))
  shift 2
  while [ "$SECONDS" -lt "$end" ]; do
    alive "$pids" "$name" || return 1
    # asked of our own process: still alive after the answer
    if "$@" && alive "$pids" "$name"; then return 0; fi
    sleep 0.05
  done
  return 1
}
# stop_process PIDS NAME SIGNAL SECONDS: ask, wait, insist.
stop_process() {
  local pid start name i
  [ -f "$1" ] || return 0
  while read -r pid start name; do
    [ "$name" = "$2" ] || continue
    alive "$1" "$2" || continue
    kill "-$3" "$pid" 2>/dev/null || true
    for ((i = 0; i < $4 * 20; i++)); do
      alive "$1" "$2" || break
      sleep 0.05
    done
    if alive "$1" "$2"; then kill -KILL "$pid" 2>/dev/null || true; fi
  done < <(cat "$1")
  { grep -v " $2\$" "$1" 2>/dev/null || true; } >"$1.new"
  mv "$1.new" "$1" 2>/dev/null || true   # somebody else may be stopping it too
}
# kill_tree PID: a process and all it started.
kill_tree() {
  local child
  # shellcheck disable=SC2013 # words, not lines
  for child in $(cat "/proc/$1"/task/*/children 2>/dev/null); do kill_tree "$child"; done
  kill "$1" 2>/dev/null || true
}
# kill_job PID: the same of a job of ours; a number that is another process's by now is left alone.
kill_job() {
  local us=$BASHPID
  [ "$(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f2)" != "$us" ] || kill_tree "$1"
}
# all_of PID...: wait for our background jobs; the first that fails ends the others.
all_of() {
  local pid other left
  while [ $# -gt 0 ]; do
    left=()
    for pid; do
      if kill -0 "$pid" 2>/dev/null; then left+=("$pid"); continue; fi
      wait "$pid" && continue
      for other; do kill_job "$other"; done
      return 1
    done
    set -- "${left[@]}"
    sleep 0.1
  done
}
# launch PIDS NAME LOG COMMAND...: in a session of its own (no Ctrl-C from the terminal), holding none of the caller's pipes.
launch() {
  local pids=$1 name=$2 log=$3
  shift 3
  setsid "$@" >>"$log" 2>&1 </dev/null 9>&- &
  remember "$pids" $! "$name"
}
# follow_owner DOWN...: when OWNER_PID is set, a small process runs DOWN as soon as that process is gone, however it died.
follow_owner() {
  local owner=${OWNER_PID:-} start
  [ -n "$owner" ] || return 0
  start=$(started "$owner") || return 0
  # shellcheck disable=SC2016 # expanded by the inner shell
  OWNER_PID='' setsid bash -c '
    owner=$1 start=$2 pids=$3; shift 3
    while [ "$(sed "s/.*) //" "/proc/$owner/stat" 2>/dev/null | cut -d" " -f20)" = "$start" ]; do
      [ -s "$pids" ] || exit 0
      sleep 1
    done
    exec "$@"' follow "$owner" "$start" "$@" >/dev/null 2>&1 </dev/null 9>&- &
}
# since MILLISECONDS: "1.2 s"
now_ms() { local t=${EPOCHREALTIME/[.,]/}; echo "${t%???}"; }
since() { local d=$(($(now_ms) - $1)); printf '%d.%d s' $((d / 1000)) $((d % 1000 / 100)); }

# A certificate authority and what it signs: ec keys, two days. new_ca DIR/NAME 'common name'; new_cert CA DIR/NAME 'common name' extensions
new_key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1" 2>/dev/null && chmod 600 "$1"; }
new_ca() {
  new_key "$1.key"
  openssl req -x509 -new -key "$1.key" -days 2 -subj "/CN=$2" -out "$1.pem" \
    -addext 'basicConstraints=critical,CA:TRUE' -addext 'keyUsage=critical,keyCertSign,cRLSign' -config <(printf '[req]\ndistinguished_name=dn\n[dn]\n')
}
new_cert() {
  new_key "$2.key"
  openssl req -new -key "$2.key" -subj "/CN=$3" -out "$2.csr" -config <(printf '[req]\ndistinguished_name=dn\n[dn]\n')
  openssl x509 -req -in "$2.csr" -CA "$1.pem" -CAkey "$1.key" -set_serial "0x$(openssl rand -hex 8)" -days 2 -out "$2.pem" \
    -extfile <(printf 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n%b\n' "$4") 2>/dev/null
  rm -f "$2.csr"
}
