#!/bin/bash
# A fence agent that can be made to misbehave, and writes down what its device has answered.
export LC_ALL=C
outside=@OUTSIDE@
[ $# -gt 0 ] && exec fence_systole_ipmi "$@"
options=$(cat)
action=reboot target=none
while IFS='=' read -r name value; do
    case $name in
    action) action=$value ;;
    nodename) target=$value ;;
    host) [ "$target" = none ] && target=$value ;;
    esac
done <<<"$options"
where=$outside/control/device.$target
case $action in
metadata | meta-data | validate-all) ;;
*)
    while [ -e "$where.hangs" ]; do sleep 0.2; done
    [ -e "$where.slow" ] && sleep 1
    if [ -e "$where.fails" ]; then
        echo "this was told to fail" >&2
        exit 1
    fi
    ;;
esac
fence_systole_ipmi <<<"$options"
status=$?
case $action in
off | reboot | on)
    boot=none
    [ -r /run/boot ] && read -r boot </run/boot
    printf '%s %s %s fence %s %s %s\n' \
        "$EPOCHREALTIME" "$HOSTNAME" "$boot" "$target" "$action" "$status" >>"$outside/ledger"
    ;;
esac
exit $status
