<?php
require __DIR__ . '/../../page.php';
page('orders', $_FILES['document']['name'] . ' ' . $_FILES['document']['size'] . ' ' . $_POST['note']);
