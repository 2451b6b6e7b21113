# usage: psql.sh HOST PORT SECONDS
export PGCONNECT_TIMEOUT="$3" PGSSLMODE=disable LC_ALL=C
exec psql --no-psqlrc --host "$1" --port "$2" --username nobody --no-password --command 'select 1' postgres 2>&1
