#!/bin/bash
# What a host runs: the daemon, as its service manager does it. Started again where it fails, but
# not where it asks not to be (100), and not for ever.
sleep "$1"
[ -e /run/boot ] || cp /proc/sys/kernel/random/uuid /run/boot
for _ in 1 2 3 4 5; do
    systole daemon
    status=$?
    echo "host: the daemon has ended with status $status"
    case $status in 0 | 100) break ;; esac
    sleep 0.1
done
