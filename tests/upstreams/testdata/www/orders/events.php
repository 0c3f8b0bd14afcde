<?php
// An event stream without an end.
header('Content-Type: text/event-stream');
header('X-Accel-Buffering: no');
while (ob_get_level() > 0) {
	ob_end_flush();
}
for ($n = 1; ; $n++) {
	echo "data: $n for {$_SERVER['HTTP_X_PASSPORT_CLIENT']}\n\n";
	flush();
	usleep(50000);
}
