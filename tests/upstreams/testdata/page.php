<?php
// page answers with what there is, and with all that PHP knows of who asks for it.
function page(string $what, string $route): void
{
	header('Content-Type: application/json');
	$known = array_filter($_SERVER, fn($name) => str_starts_with($name, 'HTTP_') || str_starts_with($name, 'PHP_AUTH_'),
		ARRAY_FILTER_USE_KEY);
	echo json_encode(['page' => $what, 'route' => $route, 'method' => $_SERVER['REQUEST_METHOD'], 'server' => $known],
		JSON_INVALID_UTF8_SUBSTITUTE), "\n";
}
