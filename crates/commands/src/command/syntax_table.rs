//! The syntax of every command that takes arguments, in the language of [`super::syntax`].

/// Full names of commands with their syntax, in order of the names.
pub(super) static SYNTAX: &[(&str, &str)] = &[
    ("acl|cat", "[categoryname]"),
    ("acl|deluser", "username..."),
    ("acl|dryrun", "username command [arg...]"),
    ("acl|genpass", "[bits:integer]"),
    ("acl|getuser", "username"),
    ("acl|log", "[operation<count:integer | RESET>]"),
    ("acl|setuser", "username [rule...]"),
    ("append", "key:key0 value"),
    ("auth", "[username] password"),
    ("bgsave", "[SCHEDULE]"),
    (
        "bitcount",
        "key:key0 [index(start:integer end:integer [index_unit<BYTE | BIT>])]",
    ),
    (
        "bitfield",
        "key:key0 [operation<GET=encoding_offset(encoding offset:integer) | \
         write([OVERFLOW=wrap_sat_fail<WRAP | SAT | FAIL>] \
         write_operation<SET=encoding_offset_value(encoding offset:integer value:integer) | \
         INCRBY=encoding_offset_increment(encoding offset:integer increment:integer)>)>...]",
    ),
    (
        "bitfield_ro",
        "key:key0 [GET=encoding_offset(encoding offset:integer)...+]",
    ),
    ("bitop", "operation destkey:key0 key:key1..."),
    (
        "bitpos",
        "key:key0 bit:integer [index(start:integer [end_index(end:integer [index_unit<BYTE | \
         BIT>])])]",
    ),
    (
        "blmove",
        "source:key0 destination:key1 wherefrom<LEFT | RIGHT> whereto<LEFT | RIGHT> \
         timeout:double",
    ),
    (
        "blmpop",
        "timeout:double numkeys:integer key:key0... where<LEFT | RIGHT> [COUNT=count:integer]",
    ),
    ("blpop", "key:key0... timeout:double"),
    ("brpop", "key:key0... timeout:double"),
    ("brpoplpush", "source:key0 destination:key1 timeout:double"),
    (
        "bzmpop",
        "timeout:double numkeys:integer key:key0... where<MIN | MAX> [COUNT=count:integer]",
    ),
    ("bzpopmax", "key:key0... timeout:double"),
    ("bzpopmin", "key:key0... timeout:double"),
    ("client|caching", "mode<YES | NO>"),
    (
        "client|kill",
        "filter<ip:port | new-format<[ID=client-id:integer] | \
         [TYPE=normal_master_slave_pubsub<NORMAL | MASTER | SLAVE | REPLICA | PUBSUB>] | \
         [USER=username] | [ADDR=ip:port] | [LADDR=ip:port] | [SKIPME=yes/no] | \
         [MAXAGE=maxage:integer]>...>",
    ),
    (
        "client|list",
        "[TYPE=normal_master_replica_pubsub<NORMAL | MASTER | REPLICA | PUBSUB>] \
         [ID=id(client-id:integer...)]",
    ),
    ("client|no-evict", "enabled<ON | OFF>"),
    ("client|no-touch", "enabled<ON | OFF>"),
    ("client|pause", "timeout:integer [mode<WRITE | ALL>]"),
    ("client|reply", "on_off_skip<ON | OFF | SKIP>"),
    ("client|setinfo", "attr<LIB-NAME=libname | LIB-VER=libver>"),
    ("client|setname", "connection-name"),
    (
        "client|tracking",
        "status<ON | OFF> [REDIRECT=client-id:integer] [PREFIX=prefix...+] [BCAST] [OPTIN] \
         [OPTOUT] [NOLOOP]",
    ),
    (
        "client|unblock",
        "client-id:integer [timeout_error<TIMEOUT | ERROR>]",
    ),
    ("cluster|addslots", "slot:integer..."),
    (
        "cluster|addslotsrange",
        "start-slot_end-slot(start-slot:integer end-slot:integer)...",
    ),
    ("cluster|count-failure-reports", "node-id"),
    ("cluster|countkeysinslot", "slot:integer"),
    ("cluster|delslots", "slot:integer..."),
    (
        "cluster|delslotsrange",
        "start-slot_end-slot(start-slot:integer end-slot:integer)...",
    ),
    ("cluster|failover", "[options<FORCE | TAKEOVER>]"),
    ("cluster|forget", "node-id"),
    ("cluster|getkeysinslot", "slot:integer count:integer"),
    ("cluster|keyslot", "key"),
    ("cluster|meet", "ip port:integer [cluster_bus_port:integer]"),
    ("cluster|replicas", "node-id"),
    ("cluster|replicate", "node-id"),
    ("cluster|reset", "[hard_soft<HARD | SOFT>]"),
    ("cluster|set-config-epoch", "config-epoch:integer"),
    (
        "cluster|setslot",
        "slot:integer subcommand<IMPORTING=node-id | MIGRATING=node-id | NODE=node-id | \
         STABLE>",
    ),
    ("cluster|slaves", "node-id"),
    ("command|docs", "[command-name...]"),
    ("command|getkeys", "command arg..."),
    ("command|getkeysandflags", "command arg..."),
    ("command|info", "[command-name...]"),
    (
        "command|list",
        "[FILTERBY=filterby<MODULE=module-name | ACLCAT=category | PATTERN=pattern:pattern>]",
    ),
    ("config|get", "parameter(parameter)..."),
    ("config|set", "parameter_value(parameter value)..."),
    (
        "copy",
        "source:key0 destination:key1 [DB=destination-db:integer] [REPLACE]",
    ),
    ("debug", "subcommand [arg...]"),
    ("decr", "key:key0"),
    ("decrby", "key:key0 decrement:integer"),
    ("del", "key:key0..."),
    (
        "delex",
        "key:key0 [condition<IFEQ=ifeq-value | IFNE=ifne-value>]",
    ),
    ("delifeq", "key:key0 value"),
    ("dump", "key:key0"),
    ("echo", "message"),
    ("eval", "script numkeys:integer [key:key0...] [arg...]"),
    ("eval_ro", "script numkeys:integer [key:key0...] [arg...]"),
    ("evalsha", "sha1 numkeys:integer [key:key0...] [arg...]"),
    ("evalsha_ro", "sha1 numkeys:integer [key:key0...] [arg...]"),
    ("exists", "key:key0..."),
    (
        "expire",
        "key:key0 seconds:integer [condition<NX | XX | GT | LT>]",
    ),
    (
        "expireat",
        "key:key0 unix-time-seconds:unix-time [condition<NX | XX | GT | LT>]",
    ),
    ("expiretime", "key:key0"),
    (
        "failover",
        "[TO=target(host port:integer [FORCE])] [ABORT] [TIMEOUT=milliseconds:integer]",
    ),
    ("flushall", "[async<ASYNC | SYNC>]"),
    ("flushdb", "[async<ASYNC | SYNC>]"),
    ("get", "key:key0"),
    ("getbit", "key:key0 offset:integer"),
    ("getdel", "key:key0"),
    (
        "getex",
        "key:key0 [expiration<EX=seconds:integer | PX=milliseconds:integer | \
         EXAT=unix-time-seconds:unix-time | PXAT=unix-time-milliseconds:unix-time | PERSIST>]",
    ),
    ("getrange", "key:key0 start:integer end:integer"),
    ("getset", "key:key0 value"),
    ("hdel", "key:key0 field..."),
    (
        "hello",
        "[arguments(protover:integer [AUTH=username_password(username password)] \
         [SETNAME=clientname])]",
    ),
    ("hexists", "key:key0 field"),
    ("hget", "key:key0 field"),
    ("hgetall", "key:key0"),
    ("hincrby", "key:key0 field increment:integer"),
    ("hincrbyfloat", "key:key0 field increment:double"),
    ("hkeys", "key:key0"),
    ("hlen", "key:key0"),
    ("hmget", "key:key0 field..."),
    ("hmset", "key:key0 field_value(field value)..."),
    (
        "hrandfield",
        "key:key0 [options(count:integer [WITHVALUES])]",
    ),
    (
        "hscan",
        "key:key0 cursor:integer [MATCH=pattern:pattern] [COUNT=count:integer] [NOVALUES]",
    ),
    ("hset", "key:key0 field_value(field value)..."),
    ("hsetnx", "key:key0 field value"),
    ("hstrlen", "key:key0 field"),
    ("hvals", "key:key0"),
    ("incr", "key:key0"),
    ("incrby", "key:key0 increment:integer"),
    ("incrbyfloat", "key:key0 increment:double"),
    ("info", "[section...]"),
    ("keys", "pattern:pattern"),
    ("latency|graph", "event"),
    ("latency|histogram", "[command...]"),
    ("latency|history", "event"),
    ("latency|reset", "[event...]"),
    (
        "lcs",
        "key1:key0 key2:key0 [LEN] [IDX] [MINMATCHLEN=len:integer] [WITHMATCHLEN]",
    ),
    ("lindex", "key:key0 index:integer"),
    ("linsert", "key:key0 where<BEFORE | AFTER> pivot element"),
    ("llen", "key:key0"),
    (
        "lmove",
        "source:key0 destination:key1 wherefrom<LEFT | RIGHT> whereto<LEFT | RIGHT>",
    ),
    (
        "lmpop",
        "numkeys:integer key:key0... where<LEFT | RIGHT> [COUNT=count:integer]",
    ),
    (
        "lock.acquire",
        "key:key0 owner milliseconds:integer [WAIT=timeout:integer] [SESSION] [SHARED]",
    ),
    ("lock.extend", "key:key0 owner milliseconds:integer"),
    ("lock.fence", "key:key0"),
    ("lock.guard", "key:key0 token:integer command [arg...]"),
    ("lock.info", "key:key0"),
    (
        "lock.list",
        "[CURSOR=cursor:integer] [MATCH=pattern:pattern] [COUNT=count:integer]",
    ),
    ("lock.release", "key:key0 owner"),
    ("lolwut", "[VERSION=version:integer]"),
    ("lpop", "key:key0 [count:integer]"),
    (
        "lpos",
        "key:key0 element [RANK=rank:integer] [COUNT=num-matches:integer] [MAXLEN=len:integer]",
    ),
    ("lpush", "key:key0 element..."),
    ("lpushx", "key:key0 element..."),
    ("lrange", "key:key0 start:integer stop:integer"),
    ("lrem", "key:key0 count:integer element"),
    ("lset", "key:key0 index:integer element"),
    ("ltrim", "key:key0 start:integer stop:integer"),
    ("memory|usage", "key:key0 [SAMPLES=count:integer]"),
    ("mget", "key:key0..."),
    (
        "migrate",
        "host port:integer key:key0 destination-db:integer timeout:integer [COPY] [REPLACE] \
         [authentication<[AUTH=password] | [AUTH2=username_password(username password)]>] \
         [KEYS=key:key1...]",
    ),
    ("module|load", "path [arg...]"),
    (
        "module|loadex",
        "path [CONFIG=configs(name value)...+] [ARGS=args(arg)...]",
    ),
    ("module|unload", "name"),
    ("move", "key:key0 db:integer"),
    ("mset", "key_value(key:key0 value)..."),
    (
        "msetex",
        "numkeys:integer key_value(key:key0 value)... [condition<NX | XX>] \
         [expiration<EX=seconds:integer | PX=milliseconds:integer | \
         EXAT=unix-time-seconds:unix-time | PXAT=unix-time-milliseconds:unix-time | KEEPTTL>]",
    ),
    ("msetnx", "key_value(key:key0 value)..."),
    ("object|encoding", "key:key0"),
    ("object|freq", "key:key0"),
    ("object|idletime", "key:key0"),
    ("object|pinned", "key:key0"),
    ("object|refcount", "key:key0"),
    ("persist", "key:key0"),
    (
        "pexpire",
        "key:key0 milliseconds:integer [condition<NX | XX | GT | LT>]",
    ),
    (
        "pexpireat",
        "key:key0 unix-time-milliseconds:unix-time [condition<NX | XX | GT | LT>]",
    ),
    ("pexpiretime", "key:key0"),
    ("ping", "[message]"),
    ("psetex", "key:key0 milliseconds:integer value"),
    ("psubscribe", "pattern(pattern:pattern)..."),
    ("psync", "replicationid offset:integer [FAILOVER]"),
    ("pttl", "key:key0"),
    ("publish", "channel message"),
    ("pubsub|channels", "[pattern:pattern]"),
    ("pubsub|numsub", "[channel...]"),
    ("pubsub|shardchannels", "[pattern:pattern]"),
    ("pubsub|shardnumsub", "[shardchannel...]"),
    ("punsubscribe", "[pattern:pattern...]"),
    ("rename", "key:key0 newkey:key1"),
    ("renamenx", "key:key0 newkey:key1"),
    ("replconf", "[option...]"),
    (
        "replicaof",
        "args<host-port(host port:integer) | no-one(NO ONE)>",
    ),
    (
        "restore",
        "key:key0 ttl:integer serialized-value [REPLACE] [ABSTTL] [IDLETIME=seconds:integer] \
         [FREQ=frequency:integer]",
    ),
    (
        "restore-asking",
        "key:key0 ttl:integer serialized-value [REPLACE] [ABSTTL] [IDLETIME=seconds:integer] \
         [FREQ=frequency:integer]",
    ),
    ("rpop", "key:key0 [count:integer]"),
    ("rpoplpush", "source:key0 destination:key1"),
    ("rpush", "key:key0 element..."),
    ("rpushx", "key:key0 element..."),
    ("sadd", "key:key0 member..."),
    (
        "scan",
        "cursor:integer [MATCH=pattern:pattern] [COUNT=count:integer] [TYPE=type]",
    ),
    ("scard", "key:key0"),
    ("script|debug", "mode<YES | SYNC | NO>"),
    ("script|exists", "sha1..."),
    ("script|flush", "[async<ASYNC | SYNC>]"),
    ("script|load", "script"),
    ("sdiff", "key:key0..."),
    ("sdiffstore", "destination:key0 key:key1..."),
    ("select", "index:integer"),
    (
        "set",
        "key:key0 value [condition<NX | XX | IFEQ=ifeq-value | IFNE=ifne-value>] [GET] \
         [expiration<EX=seconds:integer | PX=milliseconds:integer | \
         EXAT=unix-time-seconds:unix-time | PXAT=unix-time-milliseconds:unix-time | KEEPTTL>]",
    ),
    ("setbit", "key:key0 offset:integer value:integer"),
    ("setex", "key:key0 seconds:integer value"),
    ("setnx", "key:key0 value"),
    ("setrange", "key:key0 offset:integer value"),
    (
        "shutdown",
        "[nosave_save<NOSAVE | SAVE>] [NOW] [FORCE] [ABORT]",
    ),
    ("sinter", "key:key0..."),
    (
        "sintercard",
        "numkeys:integer key:key0... [LIMIT=limit:integer]",
    ),
    ("sinterstore", "destination:key0 key:key1..."),
    ("sismember", "key:key0 member"),
    (
        "slaveof",
        "args<host-port(host port:integer) | no-one(NO ONE)>",
    ),
    ("slowlog|get", "[count:integer]"),
    ("smembers", "key:key0"),
    ("smismember", "key:key0 member..."),
    ("smove", "source:key0 destination:key1 member"),
    (
        "sort",
        "key:key0 [BY=pattern:pattern] [LIMIT=offset_count(offset:integer count:integer)] \
         [GET=pattern:pattern...+] [order<ASC | DESC>] [ALPHA] [STORE=destination:key2]",
    ),
    (
        "sort_ro",
        "key:key0 [BY=pattern:pattern] [LIMIT=offset_count(offset:integer count:integer)] \
         [GET=pattern:pattern...+] [order<ASC | DESC>] [ALPHA]",
    ),
    ("spop", "key:key0 [count:integer]"),
    ("spublish", "shardchannel message"),
    ("srandmember", "key:key0 [count:integer]"),
    ("srem", "key:key0 member..."),
    (
        "sscan",
        "key:key0 cursor:integer [MATCH=pattern:pattern] [COUNT=count:integer]",
    ),
    ("ssubscribe", "shardchannel..."),
    ("strlen", "key:key0"),
    ("subscribe", "channel..."),
    ("substr", "key:key0 start:integer end:integer"),
    ("sunion", "key:key0..."),
    ("sunionstore", "destination:key0 key:key1..."),
    ("sunsubscribe", "[shardchannel...]"),
    ("swapdb", "index1:integer index2:integer"),
    ("torc|node", "action node [argument]"),
    ("torc|plan", "[node_weight(node weight:integer)...]"),
    ("torc|rebalance", "[node_weight(node weight:integer)...]"),
    ("torc|shard", "action shard:integer [node...]"),
    ("touch", "key:key0..."),
    ("ttl", "key:key0"),
    ("type", "key:key0"),
    ("unlink", "key:key0..."),
    ("unsubscribe", "[channel...]"),
    ("wait", "numreplicas:integer timeout:integer"),
    (
        "waitaof",
        "numlocal:integer numreplicas:integer timeout:integer",
    ),
    ("watch", "key:key0..."),
    ("xack", "key:key0 group id..."),
    (
        "xadd",
        "key:key0 [NOMKSTREAM] [trim(strategy<MAXLEN | MINID> [operator<= | ~>] threshold \
         [LIMIT=count:integer])] id_or_auto<* | id> field_value(field value)...",
    ),
    (
        "xautoclaim",
        "key:key0 group consumer min-idle-time start [COUNT=count:integer] [JUSTID]",
    ),
    (
        "xclaim",
        "key:key0 group consumer min-idle-time id... [IDLE=ms:integer] \
         [TIME=unix-time-milliseconds:unix-time] [RETRYCOUNT=count:integer] [FORCE] [JUSTID] \
         [LASTID=id]",
    ),
    ("xdel", "key:key0 id..."),
    (
        "xgroup|create",
        "key:key0 groupname id<id | $> [MKSTREAM] [ENTRIESREAD=entries_read:integer]",
    ),
    ("xgroup|createconsumer", "key:key0 groupname consumername"),
    ("xgroup|delconsumer", "key:key0 groupname consumername"),
    ("xgroup|destroy", "key:key0 groupname"),
    (
        "xgroup|setid",
        "key:key0 groupname id<id | $> [ENTRIESREAD=entries_read:integer]",
    ),
    ("xinfo|consumers", "key:key0 groupname"),
    ("xinfo|groups", "key:key0"),
    (
        "xinfo|stream",
        "key:key0 [FULL=full([COUNT=count:integer])]",
    ),
    ("xlen", "key:key0"),
    (
        "xpending",
        "key:key0 group [filters([IDLE=min-idle-time:integer] start end count:integer \
         [consumer])]",
    ),
    ("xrange", "key:key0 start end [COUNT=count:integer]"),
    (
        "xread",
        "[COUNT=count:integer] [BLOCK=milliseconds:integer] STREAMS=streams(key:key0... id...)",
    ),
    (
        "xreadgroup",
        "GROUP=group_consumer(group consumer) [COUNT=count:integer] \
         [BLOCK=milliseconds:integer] [NOACK] STREAMS=streams(key:key0... id...)",
    ),
    ("xrevrange", "key:key0 end start [COUNT=count:integer]"),
    (
        "xsetid",
        "key:key0 last-id [ENTRIESADDED=entries_added:integer] \
         [MAXDELETEDID=max_deleted_entry_id]",
    ),
    (
        "xtrim",
        "key:key0 trim(strategy<MAXLEN | MINID> [operator<= | ~>] threshold \
         [LIMIT=count:integer])",
    ),
    (
        "zadd",
        "key:key0 [condition<NX | XX>] [comparison<GT | LT>] [CH] [INCR] \
         score_member(score:double member)...",
    ),
    ("zcard", "key:key0"),
    ("zcount", "key:key0 min:double max:double"),
    ("zdiff", "numkeys:integer key:key0... [WITHSCORES]"),
    ("zdiffstore", "destination:key0 numkeys:integer key:key1..."),
    ("zincrby", "key:key0 increment:integer member"),
    (
        "zinter",
        "numkeys:integer key:key0... [WEIGHTS=weight:integer...] [AGGREGATE=aggregate<SUM | MIN \
         | MAX>] [WITHSCORES]",
    ),
    (
        "zintercard",
        "numkeys:integer key:key0... [LIMIT=limit:integer]",
    ),
    (
        "zinterstore",
        "destination:key0 numkeys:integer key:key1... [WEIGHTS=weight:integer...] \
         [AGGREGATE=aggregate<SUM | MIN | MAX>]",
    ),
    ("zlexcount", "key:key0 min max"),
    (
        "zmpop",
        "numkeys:integer key:key0... where<MIN | MAX> [COUNT=count:integer]",
    ),
    ("zmscore", "key:key0 member..."),
    ("zpopmax", "key:key0 [count:integer]"),
    ("zpopmin", "key:key0 [count:integer]"),
    (
        "zrandmember",
        "key:key0 [options(count:integer [WITHSCORES])]",
    ),
    (
        "zrange",
        "key:key0 start stop [sortby<BYSCORE | BYLEX>] [REV] [LIMIT=offset_count(offset:integer \
         count:integer)] [WITHSCORES]",
    ),
    (
        "zrangebylex",
        "key:key0 min max [LIMIT=offset_count(offset:integer count:integer)]",
    ),
    (
        "zrangebyscore",
        "key:key0 min:double max:double [WITHSCORES] [LIMIT=offset_count(offset:integer \
         count:integer)]",
    ),
    (
        "zrangestore",
        "dst:key0 src:key1 min max [sortby<BYSCORE | BYLEX>] [REV] \
         [LIMIT=offset_count(offset:integer count:integer)]",
    ),
    ("zrank", "key:key0 member [WITHSCORE]"),
    ("zrem", "key:key0 member..."),
    ("zremrangebylex", "key:key0 min max"),
    ("zremrangebyrank", "key:key0 start:integer stop:integer"),
    ("zremrangebyscore", "key:key0 min:double max:double"),
    (
        "zrevrange",
        "key:key0 start:integer stop:integer [WITHSCORES]",
    ),
    (
        "zrevrangebylex",
        "key:key0 max min [LIMIT=offset_count(offset:integer count:integer)]",
    ),
    (
        "zrevrangebyscore",
        "key:key0 max:double min:double [WITHSCORES] [LIMIT=offset_count(offset:integer \
         count:integer)]",
    ),
    ("zrevrank", "key:key0 member [WITHSCORE]"),
    (
        "zscan",
        "key:key0 cursor:integer [MATCH=pattern:pattern] [COUNT=count:integer]",
    ),
    ("zscore", "key:key0 member"),
    (
        "zunion",
        "numkeys:integer key:key0... [WEIGHTS=weight:integer...] [AGGREGATE=aggregate<SUM | MIN \
         | MAX>] [WITHSCORES]",
    ),
    (
        "zunionstore",
        "destination:key0 numkeys:integer key:key1... [WEIGHTS=weight:integer...] \
         [AGGREGATE=aggregate<SUM | MIN | MAX>]",
    ),
];
