# usage: dig.sh NAME SECONDS [SERVER PORT]
if [ $# -eq 2 ]; then
    set -- +time="$2" +tries=1 "$1"
else
    set -- +time="$2" +tries=1 -p "$4" @"$3" "$1"
fi
output=$(dig +nocmd +nostats +nocookie "$@" A 2>&1)
status=$?
# each question has a number of its own, and the time that is left to an answer goes down
printf '%s\n' "$output" | sed -e 's/id: [0-9]*/id: N/' -e 's/\t[0-9]*\tIN/\tTTL\tIN/'
exit $status
