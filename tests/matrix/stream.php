<?php
// PHP's streams. usage: php stream.php HOST PORT SECONDS
$stream = @stream_socket_client("tcp://$argv[1]:$argv[2]", $number, $message, (float) $argv[3]);
if ($stream === false) {
    echo "$number $message ", error_get_last()["message"] ?? "", "\n";
} else {
    echo "connected to ", stream_socket_get_name($stream, true), ": ", stream_get_contents($stream);
}
