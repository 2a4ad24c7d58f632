# Shared by hack/elasticsearch/elasticsearch and hack/opensearch/opensearch; sourced, never run.
# shellcheck shell=bash

# place DIR NAME: DIR is made, and its whole path is in DIR from here on; 1 where NAME already runs there
place() {
  mkdir -p "$1"
  DIR=$(cd "$1" && pwd)
  if [ -f "$DIR/pids" ] && alive "$DIR/pids" "$2"; then say "$2 already runs in $DIR"; return 1; fi
  [ ! -e "$DIR/data" ] || die "$DIR/data exists already; name an empty directory"
}

# as_nobody_special NAME: in AS the words before the command of a server that refuses to run as root. In a user namespace root is
# somebody else, who owns all that root owns.
as_nobody_special() {
  AS=(env)
  [ "$(id -u)" = 0 ] || return 0
  AS=(unshare -U --map-user=1000 --map-group=1000)
  "${AS[@]}" true 2>/dev/null ||
    die "$1 refuses to run as root, and this machine lets root make no user namespace (unshare -U): run this as another user"
}

# Small, and quick to start rather than quick afterwards.
java_options() {
  cat <<CONF
-Xms320m
-Xmx320m
-XX:+UseSerialGC
-XX:TieredStopAtLevel=1
-XX:-UsePerfData
-Djava.io.tmpdir=$1
CONF
}
logging() {
  cat <<'CONF'
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d{HH:mm:ss.SSS}][%-5p][%c{1.}] %m%n
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
CONF
}

# serves NAME PORT PATH: 0 when the super user is answered, whom `ask` asks as from here on; 1 it is dead, or never answers
serves() {
  URL=https://127.0.0.1:$2
  # nothing is asked of a server that is busy with its start
  comes "$DIR/pids" "$1" log_has "$DIR/log" '] started' && comes "$DIR/pids" "$1" answers "$3"
}
answers() { asked GET "$1" >/dev/null 2>&1; }
asked() {
  curl --silent --show-error --fail-with-body --max-time 30 --noproxy '*' --cacert "$DIR/ca.pem" -u admin:admin-secret -X "$1" "$URL/$2" "${@:3}"
}
# ask METHOD PATH [JSON]: as the super user; it must be done
ask() {
  asked "$1" "$2" ${3:+-H 'content-type: application/json' -d "$3"} >"$DIR/asked" 2>&1 || { tail_of "$DIR/asked"; die "$1 $2 was refused"; }
}
# again NAME ATTEMPT: after it did not start; 0 where other ports may help
again() {
  stop_process "$DIR/pids" "$1" KILL 5
  if [ "$2" -lt 5 ] && grep -q 'Address already in use' "$DIR/log"; then rm -rf "$DIR/data"; return 0; fi
  tail_of "$DIR/log" 30
  return 1
}

down() {
  [ -f "$1/pids" ] || return 0
  stop_process "$1/pids" "$2" KILL 5   # nobody wants its data
  rm -f "$1/pids"
}
