# usage: wget.sh HOST PORT SECONDS
output=$(LC_ALL=C wget --tries=1 --timeout="$3" --output-document=- "http://$1:$2/" 2>&1)
status=$?
# times, and what they make of the throughput
printf '%s\n' "$output" | sed -e 's/^--[-0-9: ]*--/--TIME--/' -e 's/^[-0-9]* [0-9:]* ([^)]*)/TIME/' -e 's/ [0-9.]*[KMG]\{0,1\}=[0-9.]*s$//' -e 's/  [0-9.]*[KMG] *$//'
exit $status
