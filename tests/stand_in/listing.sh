# Programs that list, copy and compare what is mounted. The sizes and link counts of folders and the blocks that files
# take are the file system's own, and left out.
set -u
perl -MFile::Find -e 'find(sub { print "$File::Find::name\n" unless /^[.][.]2/ }, "/srv/data")' | sort
find /srv/data -type d | sort
mounts="/etc/config /etc/secret /etc/podinfo /etc/nginx/conf.d /srv/data"
for folder in $mounts; do
    ls -laR --time-style=+ "$folder" |
        awk '$1 != "total" { if ($1 ~ /^d/) $2 = $5 = ""; if ($NF ~ /\.\.2/) $5 = ""; $1 = $1; print }'
    ls "$folder"/*
    find "$folder" -printf '%y %m %U:%G %f -> %l\n' | sort
    find "$folder" -type f -exec sha256sum {} + | sed 's/\.\.2[0-9_.]*//' | sort
    find -L "$folder" -name '*.conf' -o -newermt 2020-01-01 -type f | sort
    (cd "$folder" && pwd && find . -maxdepth 1 | sort && ls -A)
    tar --create --file - --sort=name --directory / "${folder#/}" | tar --list | sort
    tar --create --file - --dereference --sort=name --mtime=@0 "$folder/." 2>&1 | tar --list --verbose --file - |
        awk '{ if ($1 ~ /^d/) $3 = ""; print $1, $2, $3, $6 }'
    du --apparent-size --bytes --all "$folder" | awk '{ print $2 }' | sort
    cp --archive "$folder" copy && diff --recursive --no-dereference "$folder" copy && echo "$folder is as its copy"
    grep --recursive --count . "$folder" | sort
    rm --recursive copy
done
stat --format '%A %s %N' /etc/config/greeting /etc/config/..data/greeting /etc/nginx/nginx.conf
readlink /etc/config/greeting; readlink -f /etc/nginx/nginx.conf /srv/data/link; realpath /etc/config/../config/greeting
cat /srv/data/www/index.html /etc/nginx/nginx.conf | wc -c
wc -l < /srv/data/large.txt; tail -n 2 /srv/data/large.txt; head -c 20 /srv/data/large.txt;
    cmp /srv/data/large.txt /srv/data/link
file=/etc/config/greeting
for try in "touch $file" "touch /etc/config/new" "rm -f $file" "mv $file /scratch/moved" "mkdir /etc/config/folder" \
    "ln $file /scratch/linked" "ln -s x /etc/config/symbolic" "chmod 600 $file" "sed -i s/a/b/ $file" \
    "tee $file" "cp /etc/hostname /srv/data/copied" "truncate -s 0 $file" "dd if=/dev/zero of=$file count=1" \
    "rmdir /etc/config" "mv /etc/config /etc/moved" "cat /etc/config" "cat /etc/config/none" "ls $file/" \
    "cd $file" "mktemp -p /etc/config" "install -m 600 $file /srv/data/installed" "rm -r /etc/config/..data"; do
    sh -c "LC_ALL=C $try" < /dev/null 2>&1 |
        sed -E 's/\.\.2[0-9_.]+/..TIME/g; s/tmp\.[A-Za-z0-9]+/tmp.X/; s/sed[A-Za-z0-9]{6}/sedX/'
    echo "$try: done"
done
