# usage: mysql.sh HOST PORT SECONDS
output=$(mysql --no-defaults --protocol=tcp --host="$1" --port="$2" --user=nobody --connect-timeout="$3" --execute='select 1' 2>&1)
status=$?
# after a read that succeeded it is the errno of whatever failed last: whether it had to wait
printf '%s\n' "$output" | sed 's/system error: [0-9]*/system error: N/'
exit $status
