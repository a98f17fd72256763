<?php
// Written by dlhost, role zabbix_server. Runs before every page of the frontend.
// Without its configuration, the frontend would offer to be set up anew to anybody who asks.
if (basename($_SERVER['SCRIPT_FILENAME']) === 'setup.php') {
    http_response_code(404);
    exit;
}
