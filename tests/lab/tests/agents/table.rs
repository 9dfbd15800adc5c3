//! The agents, the software behind them, and how each is made to fail.

/// How a resource is spread.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// On one node.
    Single,
    /// On all nodes.
    Clone,
    /// On all nodes, promoted on one.
    Promotable,
}

/// An agent and its life.
pub(crate) struct Agent {
    /// The resource's id.
    pub(crate) id: &'static str,
    pub(crate) kind: Kind,
    /// Class, provider and name.
    pub(crate) agent: &'static str,
    /// Parameters, one a line; `{shared}` is a folder that all hosts share.
    pub(crate) parameters: &'static str,
    /// Run on each host before anything is configured.
    pub(crate) prepare: &'static str,
    /// Succeeds on a host where the resource is active (promoted, if it is promotable) and
    /// nowhere else. Asks the software, not the cluster.
    pub(crate) is_here: &'static str,
    /// Makes it fail, from outside.
    pub(crate) break_it: &'static str,
}

/// Where each host keeps what the software needs.
pub(crate) const HOME: &str = "/srv/agents";

const fn single(
    id: &'static str,
    agent: &'static str,
    parameters: &'static str,
    prepare: &'static str,
    is_here: &'static str,
    break_it: &'static str,
) -> Agent {
    Agent { id, kind: Kind::Single, agent, parameters, prepare, is_here, break_it }
}

pub(crate) const AGENTS: &[Agent] = &[
    // What the kernel does.
    single(
        "address",
        "ocf:heartbeat:IPaddr2",
        "ip=10.77.0.60\ncidr_netmask=24\nnic=eth0",
        "",
        "ip -o addr show dev eth0 | grep -q 10.77.0.60/24",
        "ip addr del 10.77.0.60/24 dev eth0",
    ),
    single(
        "route",
        "ocf:heartbeat:Route",
        "destination=10.99.0.0/24\ngateway=10.77.0.90\ndevice=eth0",
        "",
        "ip route show 10.99.0.0/24 | grep -q 10.77.0.90",
        "ip route del 10.99.0.0/24",
    ),
    single(
        "filesystem",
        "ocf:heartbeat:Filesystem",
        "device={shared}/disk.img\ndirectory=/srv/agents/disk\nfstype=ext4\noptions=loop",
        "mkdir -p /srv/agents/disk",
        "grep -q here /srv/agents/disk/mark",
        "umount /srv/agents/disk",
    ),
    single(
        "link",
        "ocf:heartbeat:symlink",
        "link=/srv/agents/link\ntarget=/etc/hostname",
        "",
        "test -L /srv/agents/link",
        "rm /srv/agents/link",
    ),
    // Small ones.
    single(
        "dummy",
        "ocf:heartbeat:Dummy",
        "state=/run/dummy",
        "",
        "test -e /run/dummy",
        "rm /run/dummy",
    ),
    single(
        "dummy-python",
        "ocf:heartbeat:dummypy",
        "state=/run/dummypy",
        "",
        "test -e /run/dummypy",
        "rm /run/dummypy",
    ),
    single(
        "dummy-p",
        "ocf:pacemaker:Dummy",
        "state=/run/dummy-p",
        "",
        "test -e /run/dummy-p",
        "rm /run/dummy-p",
    ),
    single(
        "delay",
        "ocf:heartbeat:Delay",
        "startdelay=1\nstopdelay=0\nmondelay=0",
        "",
        "test -e /run/resource-agents/Delay_delay",
        "rm /run/resource-agents/Delay_delay",
    ),
    single(
        "anything",
        "ocf:heartbeat:anything",
        "binfile=/bin/sleep\ncmdline_options=4321\npidfile=/run/anything.pid",
        "",
        "kill -0 $(cat /run/anything.pid)",
        "kill -9 $(cat /run/anything.pid)",
    ),
    Agent {
        id: "stateful",
        kind: Kind::Promotable,
        agent: "ocf:heartbeat:Stateful",
        parameters: "state=/run/stateful",
        prepare: "",
        is_here: "grep -qx master /run/stateful",
        break_it: "rm /run/stateful",
    },
    Agent {
        id: "stateful-p",
        kind: Kind::Promotable,
        agent: "ocf:pacemaker:Stateful",
        parameters: "state=/run/stateful-p",
        prepare: "",
        is_here: "grep -qx Promoted /run/stateful-p",
        break_it: "rm /run/stateful-p",
    },
    // What tells the cluster something through its tools.
    single(
        "ping",
        "ocf:pacemaker:ping",
        "host_list=10.77.0.3\nname=reach\ndampen=0s\nattempts=1\npidfile=/run/ping",
        "",
        "test -e /run/ping && attrd_updater -Q -n reach | grep -q 'value=\"1\"'",
        "rm /run/ping",
    ),
    single(
        "attribute",
        "ocf:pacemaker:attribute",
        "name=here\nactive_value=yes\ninactive_value=no",
        "",
        "attrd_updater -Q -n here | grep -q 'value=\"yes\"'",
        "attrd_updater -n here -U no",
    ),
    single(
        "health-cpu",
        "ocf:pacemaker:HealthCPU",
        "state=/run/health-cpu",
        "",
        "test -e /run/health-cpu && attrd_updater -Q -n '#health-cpu'",
        "rm /run/health-cpu",
    ),
    single(
        "health-io",
        "ocf:pacemaker:HealthIOWait",
        "state=/run/health-io",
        "",
        "test -e /run/health-io && attrd_updater -Q -n '#health-iowait'",
        "rm /run/health-io",
    ),
    single(
        "system",
        "ocf:heartbeat:SysInfo",
        "pidfile=/run/sysinfo",
        "",
        "test -e /run/sysinfo && attrd_updater -Q -n cpu_cores",
        "rm /run/sysinfo",
    ),
    single(
        "system-p",
        "ocf:pacemaker:SysInfo",
        "pidfile=/run/sysinfo-p",
        "",
        "test -e /run/sysinfo-p && attrd_updater -Q -n os",
        "rm /run/sysinfo-p",
    ),
    single(
        "utilization",
        "ocf:heartbeat:NodeUtilization",
        "utilization_hv_memory=false",
        "",
        "test -e /run/resource-agents/NodeUtilization.utilization && \
         crm_attribute -Q -z -N $(hostname) -n cpu -G",
        "rm /run/resource-agents/NodeUtilization.utilization",
    ),
    // Servers.
    single(
        "nginx",
        "ocf:heartbeat:nginx",
        "httpd=/usr/sbin/nginx\nconfigfile=/srv/agents/nginx.conf\n\
         status10url=http://127.0.0.1:8081/status",
        "cat >/srv/agents/nginx.conf <<'END'
user www-data;
worker_processes 1;
pid /run/nginx.pid;
error_log /srv/agents/nginx.log;
events { }
http {
  access_log off;
  server { listen 8081; location /status { stub_status; } }
}
END",
        "wget -qO- http://127.0.0.1:8081/status",
        // Not with signal 9: its workers would keep the port.
        "kill $(cat /run/nginx.pid)",
    ),
    single(
        "apache",
        "ocf:heartbeat:apache",
        "httpd=/usr/sbin/apache2\nconfigfile=/srv/agents/apache.conf\n\
         statusurl=http://127.0.0.1:8082/server-status",
        "cat >/srv/agents/apache.conf <<'END'
ServerRoot /usr/lib/apache2
ServerName localhost
PidFile /run/apache.pid
DefaultRuntimeDir /run
ErrorLog /srv/agents/apache.log
Listen 8082
User www-data
Group www-data
LoadModule mpm_event_module modules/mod_mpm_event.so
LoadModule authz_core_module modules/mod_authz_core.so
LoadModule status_module modules/mod_status.so
<Location /server-status>
  SetHandler server-status
</Location>
END",
        "wget -qO- http://127.0.0.1:8082/server-status",
        "kill -9 $(cat /run/apache.pid)",
    ),
    single(
        "xinetd",
        "ocf:heartbeat:Xinetd",
        "service=name",
        "cat >/etc/xinetd.d/name <<'END'
service name
{
  disable = yes
  type = UNLISTED
  socket_type = stream
  protocol = tcp
  port = 8083
  wait = no
  user = root
  server = /bin/hostname
}
END
xinetd -stayalive -pidfile /run/xinetd.pid",
        "busybox nc 127.0.0.1 8083 </dev/null | grep -qx $(hostname)",
        "sed -i '/disable/s/no/yes/' /etc/xinetd.d/name
         kill -HUP $(cat /run/xinetd.pid)",
    ),
    single(
        "rsync",
        "ocf:heartbeat:rsyncd",
        "conffile=/srv/agents/rsyncd.conf",
        "printf 'pid file = /run/rsync.pid\\nport = 8084\\nlog file = /srv/agents/rsync.log\\n\
         [agents]\\npath = /srv/agents\\n' >/srv/agents/rsyncd.conf",
        "rsync rsync://127.0.0.1:8084/agents/rsyncd.conf",
        // Not with signal 9: the agent cannot start over a process file that is left behind.
        "kill $(cat /run/rsync.pid)",
    ),
    single(
        "ftp",
        "ocf:heartbeat:vsftpd",
        // The agent looks for a process of this very name.
        "binpath=vsftpd\nconffile=/srv/agents/vsftpd.conf",
        "mkdir -p /run/vsftpd/empty
printf 'listen=YES\\nlisten_ipv6=NO\\nbackground=YES\\nlisten_port=8085\\nlocal_enable=YES\\n\
secure_chroot_dir=/run/vsftpd/empty\\nxferlog_enable=NO\\n' >/srv/agents/vsftpd.conf",
        "echo QUIT | busybox nc -w 5 127.0.0.1 8085 | grep -q ^220",
        "kill -9 $(cat /run/vsftpd.pid); rm /run/vsftpd.pid",
    ),
    single(
        "ldap",
        "ocf:heartbeat:slapd",
        "config=/srv/agents/slapd.conf\nservices=ldap://127.0.0.1:8087/\nuser=openldap\n\
         group=openldap\npidfile=/run/slapd/slapd.pid",
        "install -d -o openldap -g openldap /srv/agents/ldap /run/slapd
cat >/srv/agents/slapd.conf <<'END'
include /etc/ldap/schema/core.schema
pidfile /run/slapd/slapd.pid
moduleload back_mdb
database mdb
maxsize 10485760
suffix dc=lab
rootdn cn=admin,dc=lab
directory /srv/agents/ldap
END
printf 'dn: dc=lab\\nobjectClass: organization\\nobjectClass: dcObject\\no: lab\\ndc: lab\\n' | \
su openldap -s /bin/sh -c 'slapadd -f /srv/agents/slapd.conf'",
        "ldapsearch -x -H ldap://127.0.0.1:8087/ -b dc=lab -s base",
        "kill -9 $(cat /run/slapd/slapd.pid)",
    ),
    single(
        "name-server",
        "ocf:heartbeat:named",
        "named_user=bind\nnamed_config=/etc/bind/named.conf\nnamed_pidfile=/run/named/named.pid\n\
         monitor_request=www.lab\nmonitor_response=10.77.0.60\nmonitor_ip=127.0.0.1",
        "rndc-confgen -a -u bind
install -d -o bind /run/named /srv/agents/named
printf '$TTL 60\\n@ SOA ns.lab. a.lab. 1 60 60 60 60\\n@ NS ns.lab.\\nns A 127.0.0.1\\n\
www A 10.77.0.60\\n' >/srv/agents/named/lab
cat >/etc/bind/named.conf <<'END'
options {
  directory \"/srv/agents/named\"; pid-file \"/run/named/named.pid\";
  listen-on { 127.0.0.1; }; listen-on-v6 { none; }; recursion no; dnssec-validation no;
};
zone \"lab\" { type master; file \"/srv/agents/named/lab\"; };
END",
        "host -W 2 www.lab 127.0.0.1",
        "kill -9 $(cat /run/named/named.pid)",
    ),
    single(
        "log",
        "ocf:heartbeat:rsyslog",
        "configfile=/srv/agents/rsyslog.conf\nrsyslog_binary=/usr/sbin/rsyslogd",
        "cat >/srv/agents/rsyslog.conf <<'END'
module(load=\"imudp\")
input(type=\"imudp\" address=\"127.0.0.1\" port=\"8088\")
*.* /srv/agents/syslog
END",
        "word=word$(date +%s%N); logger -d -n 127.0.0.1 -P 8088 $word
for i in $(seq 20); do grep -q $word /srv/agents/syslog && exit; sleep 0.1; done; false",
        "kill -9 $(cat /run/rsyslogd.pid)",
    ),
    single(
        "iscsi",
        "ocf:heartbeat:iSCSITarget",
        "implementation=tgt\niqn=iqn.2026-01.lab:disk\ntid=1",
        "tgtd && for i in $(seq 100); do tgtadm --op show --mode sys && break; sleep 0.1; done",
        "tgtadm --lld iscsi --op show --mode target | grep -q iqn.2026-01.lab:disk",
        "tgtadm --lld iscsi --op delete --mode target --tid 1 --force",
    ),
    // Databases and queues.
    single(
        "mariadb",
        "ocf:heartbeat:mysql",
        "binary=/usr/sbin/mariadbd\nclient_binary=mariadb\nconfig=/srv/agents/my.cnf\n\
         datadir=/srv/agents/mysql\nlog=/srv/agents/mysql.log\npid=/run/mysql/pid\n\
         socket=/run/mysql/socket",
        "install -d -o mysql /srv/agents/mysql /srv/agents/mysql-tmp /run/mysql
install -o mysql /dev/null /srv/agents/mysql.log
printf '[mysqld]\\nport=3306\\nsocket=/run/mysql/socket\\ntmpdir=/srv/agents/mysql-tmp\\ninnodb_log_file_size=8M\\n\
innodb_buffer_pool_size=16M\\n' >/srv/agents/my.cnf
mariadb-install-db --defaults-file=/srv/agents/my.cnf --user=mysql --datadir=/srv/agents/mysql \
--skip-test-db",
        "mariadb --socket=/run/mysql/socket -e 'select 1'",
        "kill -9 $(cat /run/mysql/pid)",
    ),
    Agent {
        id: "redis",
        kind: Kind::Promotable,
        agent: "ocf:heartbeat:redis",
        parameters: "config=/srv/agents/redis.conf\nrundir=/run/redis",
        prepare: "install -d -o redis /srv/agents/redis /run/redis
printf 'bind 0.0.0.0\\nprotected-mode no\\ndir /srv/agents/redis\\n\
repl-diskless-sync-delay 0\\nlogfile /srv/agents/redis/log\\n' >/srv/agents/redis.conf",
        is_here: "redis-cli -p 6379 set key $(date +%N) | grep -q OK",
        break_it: "kill -9 $(cat /run/redis/redis-server.pid)",
    },
    Agent {
        id: "rabbitmq",
        kind: Kind::Clone,
        agent: "ocf:heartbeat:rabbitmq-cluster",
        parameters: "",
        prepare: "chown rabbitmq:rabbitmq /var/lib/rabbitmq /var/log/rabbitmq
printf labcookie >/var/lib/rabbitmq/.erlang.cookie
chown rabbitmq:rabbitmq /var/lib/rabbitmq/.erlang.cookie
chmod 400 /var/lib/rabbitmq/.erlang.cookie",
        is_here: "ss -ltn | grep -q :5672",
        break_it: "kill -9 $(cat /run/rabbitmq/rmq.pid)",
    },
    // Containers.
    single(
        "podman",
        "ocf:heartbeat:podman",
        "image=web:1\nname=web\nforce_kill=true\nrun_opts=--network=host\nrun_cmd=httpd -f -p 8090 -h /www",
        "d=$(mktemp -d); mkdir $d/bin $d/www; cp /bin/busybox $d/bin/
for n in sh true httpd; do ln -s busybox $d/bin/$n; done; hostname >$d/www/index.html
tar -C $d -c . | podman import - web:1; rm -r $d",
        "wget -qO- http://127.0.0.1:8090/",
        "podman kill web",
    ),
    single(
        "docker",
        "ocf:heartbeat:docker",
        "image=web:1\nname=web\nforce_kill=true\nrun_opts=--network=host\nrun_cmd=httpd -f -p 8091 -h /www",
        "setsid dockerd --data-root /srv/agents/docker --exec-root /run/docker \
--pidfile /run/docker.pid --storage-driver vfs --cgroup-parent /{lab} --iptables=false \
--bridge=none </dev/null >/srv/agents/dockerd.log 2>&1 &
for i in $(seq 300); do docker ps && break; sleep 0.1; done
d=$(mktemp -d); mkdir $d/bin $d/www; cp /bin/busybox $d/bin/
for n in sh true httpd; do ln -s busybox $d/bin/$n; done; hostname >$d/www/index.html
tar -C $d -c . | docker import - web:1; rm -r $d",
        "wget -qO- http://127.0.0.1:8091/",
        "docker kill web",
    ),
];
