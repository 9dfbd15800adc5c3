#!/bin/bash
# What a host runs: the daemon, as its service manager does it. Started again where it fails, but
# not where it asks not to be (100), and not for ever.
sleep "$1"
if [ ! -e /run/boot ]; then
    rm -rf "@OUTSIDE@/state/$HOSTNAME"
    mkdir -p "@OUTSIDE@/state/$HOSTNAME"
    cp /proc/sys/kernel/random/uuid /run/boot
fi
for _ in 1 2 3 4 5; do
    systole daemon
    status=$?
    echo "host: the daemon has ended with status $status"
    case $status in 0 | 100) break ;; esac
    sleep 0.1
done
