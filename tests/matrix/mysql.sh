# usage: mysql.sh HOST PORT SECONDS
exec mysql --no-defaults --protocol=tcp --host="$1" --port="$2" --user=nobody --connect-timeout="$3" --execute='select 1' 2>&1
