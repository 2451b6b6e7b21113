# usage: redis.sh HOST PORT SECONDS
# redis-cli has no time limit of its own
exec timeout "$3" redis-cli -h "$1" -p "$2" ping 2>&1
