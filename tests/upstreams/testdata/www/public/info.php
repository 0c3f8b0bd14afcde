<?php
require __DIR__ . '/../../page.php';
page('public', 'info.php');
