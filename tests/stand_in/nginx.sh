# nginx: nginx.conf as a file of a ConfigMap (subPath), its servers in a folder of one, the key of a Secret, pages in a
# volume.
get() { curl --silent --show-error --max-time 10 --cacert /etc/secret/tls.crt "$@"; echo; }
mkdir -p logs
nginx -t 2>&1 && nginx && get http://127.0.0.1:18931/greeting
get http://127.0.0.1:18931/index.html; get --head http://127.0.0.1:18931/index.html | grep -iE '^(HTTP|Content)'
get http://127.0.0.1:18931/large.txt | sha256sum; get --range 5-14 http://127.0.0.1:18931/large.txt
get http://127.0.0.1:18931/list/ | grep -o 'href="[^"]*"';
    get --output /dev/null --write-out '%{http_code}' http://127.0.0.1:18931/none
get --resolve localhost:18932:127.0.0.1 https://localhost:18932/greeting
nginx -T 2>&1 | grep -v '^#' | sha256sum
echo CHANGE
until grep -q changed /etc/nginx/conf.d/site.conf; do sleep 0.1; done
nginx -s reload 2> /dev/null
until get http://127.0.0.1:18931/greeting | grep changed; do sleep 0.1; done
nginx -s quit 2> /dev/null
while [ -e nginx.pid ]; do sleep 0.1; done
grep -o '"[A-Z]* [^"]*" [0-9]*' logs/access.log | sort -u;
    sed -E 's/^[^[]*\[/[/; s/[0-9]+#[0-9]+: \*?[0-9]*//' logs/error.log
