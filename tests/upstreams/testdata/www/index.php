<?php
// A front controller as PHP frameworks have one: nginx gives it every path that is no file. It finds its route by
// PATH_INFO or by REQUEST_URI, decoded once.
require __DIR__ . '/../page.php';

$route = $_SERVER['PATH_INFO'] ?? '';
if ($route === '') {
	$route = rawurldecode((string) parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH));
	if (str_starts_with($route, '/index.php/')) {
		$route = substr($route, strlen('/index.php'));
	}
}
if (preg_match('#^/+orders(/|$)#i', $route)) {
	page('orders', $route);
} elseif (preg_match('#^/public(/|$)#', $route)) {
	page('public', $route);
} else {
	http_response_code(404);
	page('nothing', $route);
}
