<?php
// PHP's curl extension. usage: php curl.php HOST PORT SECONDS
$curl = curl_init("http://$argv[1]:$argv[2]/");
curl_setopt_array($curl, [CURLOPT_RETURNTRANSFER => true, CURLOPT_CONNECTTIMEOUT => (int) $argv[3]]);
$body = curl_exec($curl);
if ($body === false) {
    // how long it took is another time another
    echo curl_errno($curl), " ", preg_replace('/after \d+ \w+/', 'after some time', curl_error($curl)), "\n";
} else {
    echo curl_getinfo($curl, CURLINFO_RESPONSE_CODE), " ", $body;
}
