# usage: ssh.sh HOST PORT SECONDS
said=$(ssh -F none -o ConnectTimeout="$3" -o BatchMode=yes -o UserKnownHostsFile=/dev/null -p "$2" nobody@"$1" true 2>&1)
status=$?
# the end of the line, as a terminal has it
printf '%s\n' "$said" | tr -d '\r'
exit $status
