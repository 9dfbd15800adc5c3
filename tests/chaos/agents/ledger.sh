#!/bin/bash
# An agent that writes into a ledger outside of the hosts when its resource becomes active and when
# it has been stopped. Like an address, what is active is known by its parameter: with another one,
# a stop stops nothing and a monitor finds nothing.
export LC_ALL=C
outside=@OUTSIDE@
# Emptied when the host boots. It lies outside so that a migration can bring something there.
state=$outside/state/$HOSTNAME
id=${OCF_RESOURCE_INSTANCE%%:*}
file=$state/$id.$OCF_RESKEY_value

record() {
    local boot=none
    [ -r /run/boot ] && read -r boot </run/boot
    printf '%s %s %s %s\n' "$EPOCHREALTIME" "${on:-$HOSTNAME}" "$boot" "$*" >>"$outside/ledger"
}

score() {
    [ "$id" = roles ] && timeout 3 crm_attribute --promotion -v 10 -l reboot 2>/dev/null
    true
}

demote() {
    rm -f "$file.promoted"
    record stop "$id.promoted" "$OCF_RESKEY_value"
}

trouble() {
    local where=$outside/control/agent.$id.$1.$HOSTNAME
    while [ -e "$where.hangs" ]; do sleep 0.2; done
    if [ -e "$where.fails" ]; then
        echo "this was told to fail" >&2
        exit 1
    fi
}

case $1 in
meta-data)
    cat <<'END'
<?xml version="1.0"?>
<resource-agent name="ledger" version="1.0">
  <version>1.1</version>
  <longdesc lang="en">Keeps a ledger of its activity.</longdesc>
  <shortdesc lang="en">Keeps a ledger</shortdesc>
  <parameters>
    <parameter name="value" unique="0" required="1">
      <longdesc lang="en">What is active.</longdesc>
      <shortdesc lang="en">What is active</shortdesc>
      <content type="string"/>
    </parameter>
  </parameters>
  <actions>
    <action name="start" timeout="10s"/>
    <action name="stop" timeout="10s"/>
    <action name="monitor" timeout="10s" interval="1s"/>
    <action name="promote" timeout="10s"/>
    <action name="demote" timeout="10s"/>
    <action name="migrate_to" timeout="10s"/>
    <action name="migrate_from" timeout="10s"/>
    <action name="meta-data" timeout="5s"/>
    <action name="validate-all" timeout="5s"/>
  </actions>
</resource-agent>
END
    ;;
start)
    trouble start
    if [ ! -e "$file" ]; then
        record start "$id" "$OCF_RESKEY_value"
        : >"$file"
    fi
    score
    ;;
stop)
    trouble stop
    [ -e "$file.promoted" ] && demote
    rm -f "$file"
    record stop "$id" "$OCF_RESKEY_value"
    ;;
monitor)
    trouble monitor
    [ -e "$file" ] || exit 7
    # The score does not outlive the daemon.
    score
    [ -e "$file.promoted" ] && exit 8
    exit 0
    ;;
promote)
    trouble promote
    if [ ! -e "$file.promoted" ]; then
        record start "$id.promoted" "$OCF_RESKEY_value"
        : >"$file.promoted"
    fi
    ;;
demote)
    trouble demote
    demote
    ;;
migrate_to)
    trouble migrate_to
    target=$OCF_RESKEY_CRM_meta_migrate_target
    # Both hosts must be there for it.
    [ -e "$file" ] && ping -q -c 1 -W 1 "$target" >/dev/null || exit 1
    rm "$file"
    record stop "$id" "$OCF_RESKEY_value"
    on=$target record start "$id" "$OCF_RESKEY_value"
    : >"$outside/state/$target/$id.$OCF_RESKEY_value"
    ;;
migrate_from)
    trouble migrate_from
    [ -e "$file" ] || exit 1
    ;;
validate-all) ;;
*) exit 3 ;;
esac
