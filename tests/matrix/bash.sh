# Bash's own sockets; it has no time limit of its own. usage: bash bash.sh HOST PORT SECONDS
exec timeout "$3" bash -c 'exec 3<>"/dev/tcp/$1/$2" && cat <&3' bash "$1" "$2" 2>&1
