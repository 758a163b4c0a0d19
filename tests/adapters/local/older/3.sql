PRAGMA application_id=99054061;
PRAGMA user_version=3;
BEGIN TRANSACTION;
CREATE TABLE dead_letters (
        position INTEGER PRIMARY KEY,
        machine TEXT NOT NULL,
        instance TEXT NOT NULL,
        id TEXT NOT NULL,
        reason TEXT NOT NULL,
        at REAL NOT NULL,
        detail TEXT NOT NULL,
        body TEXT NOT NULL
    );
INSERT INTO "dead_letters" VALUES(1,'order','halted','halted-check','failed 5 times',1000040.0,'order: the guard "sound" at states.basket.on.CHECK.guard raised ZeroDivisionError: division by zero','{"kind":"event","event":{"type":"CHECK"}}');
INSERT INTO "dead_letters" VALUES(2,'order','halted','halted-pay','halted: halted-check failed 5 times, at last with order: the guard "sound" at states.basket.on.CHECK.guard raised ZeroDivisionError: division by zero',1000040.0,'','{"kind":"event","event":{"type":"PAY"}}');
CREATE TABLE epochs (epoch TEXT NOT NULL, file TEXT NOT NULL);
INSERT INTO "epochs" VALUES('cc691b0f','fe00:25e004');
CREATE TABLE message_groups (
        group_id INTEGER PRIMARY KEY,
        machine TEXT NOT NULL,
        instance TEXT NOT NULL,
        tail INTEGER NOT NULL,
        token INTEGER NOT NULL,
        last_leased INTEGER NOT NULL,
        blocked INTEGER,
        blocked_until_or_rank REAL,
        UNIQUE (machine, instance)
    );
INSERT INTO "message_groups" VALUES(1,'order','waiting',1,1,0,NULL,NULL);
INSERT INTO "message_groups" VALUES(2,'order','charging',2,2,2,1,1000030.0);
INSERT INTO "message_groups" VALUES(3,'order','halted',3,6,0,NULL,NULL);
INSERT INTO "message_groups" VALUES(4,'order','queued',2,1,0,0,1.0);
INSERT INTO "message_groups" VALUES(5,'order','new',1,0,0,0,2.0);
CREATE TABLE messages (
        group_id INTEGER NOT NULL,
        number INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        id TEXT NOT NULL,
        body TEXT NOT NULL,
        PRIMARY KEY (group_id, number)
    ) WITHOUT ROWID
    ;
INSERT INTO "messages" VALUES(2,2,0,'charging-pay','{"kind":"event","event":{"type":"PAY"}}');
INSERT INTO "messages" VALUES(4,2,0,'queued-pay','{"kind":"event","event":{"type":"PAY"}}');
INSERT INTO "messages" VALUES(5,1,0,'new-start','{"kind":"start","input":null,"parent":null}');
CREATE TABLE records (
        machine TEXT NOT NULL,
        instance TEXT NOT NULL,
        version INTEGER NOT NULL,
        status TEXT NOT NULL,
        tags TEXT NOT NULL,
        updated REAL NOT NULL,
        body TEXT NOT NULL,
        PRIMARY KEY (machine, instance)
    );
INSERT INTO "records" VALUES('order','waiting',1,'active','["settled"]',1000000.0,'{"settled":3,"machine":"order","fingerprint":"5821d53fccff112522d001041ec8447791de52c36db36c962e71eaa574a3514d","nonce":"7ea26316dce2600e.1","start_nonce":"7ea26316dce2600e.1","ordinal":1,"timers":{"order/waiting/7ea26316dce2600e.1/0/0":[1003600.0,{"type":"xstate.after.patience.order.basket"},"xstate.after.patience.order.basket",null,true]},"high_water_mark":["cc691b0f",1],"pinned":{"waiting-start":["7ca261"]},"snapshot":{"status":"active","value":"basket","context":{},"children":{},"historyValue":{}},"window":[]}');
INSERT INTO "records" VALUES('order','charging',2,'active','[]',1000000.0,'{"settled":3,"machine":"order","fingerprint":"5821d53fccff112522d001041ec8447791de52c36db36c962e71eaa574a3514d","nonce":"dead.2","start_nonce":"bb1194bd239b06d4.1","ordinal":2,"turn":{"message":["charging-pay","{\"kind\":\"event\",\"event\":{\"type\":\"PAY\"}}"],"ordinal":1,"index":2,"nonce":"dead.2","inbox":[],"actors":[["0.order.charging","charge",null,1,1,0.0,"dead"]],"lease_until":1000030.0,"from_dead_letters":false},"receives":["charging-pay",1],"high_water_mark":["cc691b0f",2],"snapshot":{"status":"active","value":"charging","context":{},"children":{"0.order.charging":{"snapshot":{"status":"active"},"src":"charge","syncSnapshot":false}},"historyValue":{}},"window":["charging-start 7ca261"]}');
INSERT INTO "records" VALUES('order','halted',7,'halted','["settled"]',1000040.0,'{"settled":3,"machine":"order","fingerprint":"5821d53fccff112522d001041ec8447791de52c36db36c962e71eaa574a3514d","nonce":"b9ab69360f78a1ac.7","start_nonce":"ebed64ecb9a71a4a.1","ordinal":1,"timers":{"order/halted/ebed64ecb9a71a4a.1/0/0":[1003600.0,{"type":"xstate.after.patience.order.basket"},"xstate.after.patience.order.basket",null,true]},"halted":"halted-check failed 5 times, at last with order: the guard \"sound\" at states.basket.on.CHECK.guard raised ZeroDivisionError: division by zero","high_water_mark":["cc691b0f",3],"pinned":{"halted-check":["4eddc7"],"halted-pay":["05431a"]},"outcomes":{"halted-check 4eddc7":"dead-lettered","halted-pay 05431a":"dead-lettered"},"snapshot":{"status":"active","value":"basket","context":{},"children":{},"historyValue":{}},"window":["halted-start 7ca261"]}');
INSERT INTO "records" VALUES('order','queued',1,'active','["settled"]',1000000.0,'{"settled":3,"machine":"order","fingerprint":"5821d53fccff112522d001041ec8447791de52c36db36c962e71eaa574a3514d","nonce":"79c1b41f4be36408.1","start_nonce":"79c1b41f4be36408.1","ordinal":1,"timers":{"order/queued/79c1b41f4be36408.1/0/0":[1003600.0,{"type":"xstate.after.patience.order.basket"},"xstate.after.patience.order.basket",null,true]},"high_water_mark":["cc691b0f",1],"pinned":{"queued-start":["7ca261"]},"snapshot":{"status":"active","value":"basket","context":{},"children":{},"historyValue":{}},"window":[]}');
CREATE TABLE seen_ids (
        group_id INTEGER NOT NULL,
        id TEXT NOT NULL,
        number INTEGER NOT NULL,
        digest TEXT NOT NULL,
        PRIMARY KEY (group_id, id)
    ) WITHOUT ROWID
    ;
INSERT INTO "seen_ids" VALUES(1,'waiting-start',1,'7ca261');
INSERT INTO "seen_ids" VALUES(2,'charging-pay',2,'05431a');
INSERT INTO "seen_ids" VALUES(2,'charging-start',1,'7ca261');
INSERT INTO "seen_ids" VALUES(3,'halted-check',2,'4eddc7');
INSERT INTO "seen_ids" VALUES(3,'halted-pay',3,'05431a');
INSERT INTO "seen_ids" VALUES(3,'halted-start',1,'7ca261');
INSERT INTO "seen_ids" VALUES(4,'queued-pay',2,'05431a');
INSERT INTO "seen_ids" VALUES(4,'queued-start',1,'7ca261');
INSERT INTO "seen_ids" VALUES(5,'new-start',1,'7ca261');
CREATE TABLE timers (
        serial INTEGER PRIMARY KEY,
        timer TEXT NOT NULL UNIQUE,
        due REAL NOT NULL,
        machine TEXT NOT NULL,
        instance TEXT NOT NULL,
        id TEXT NOT NULL,
        body TEXT NOT NULL
    );
INSERT INTO "timers" VALUES(1,'order/waiting/7ea26316dce2600e.1/0/0',1003600.0,'order','waiting','settled:order/waiting/7ea26316dce2600e.1/0/0','{"kind":"timer","token":"order/waiting/7ea26316dce2600e.1/0/0"}');
INSERT INTO "timers" VALUES(3,'order/halted/ebed64ecb9a71a4a.1/0/0',1003600.0,'order','halted','settled:order/halted/ebed64ecb9a71a4a.1/0/0','{"kind":"timer","token":"order/halted/ebed64ecb9a71a4a.1/0/0"}');
INSERT INTO "timers" VALUES(4,'order/queued/79c1b41f4be36408.1/0/0',1003600.0,'order','queued','settled:order/queued/79c1b41f4be36408.1/0/0','{"kind":"timer","token":"order/queued/79c1b41f4be36408.1/0/0"}');
CREATE INDEX records_by_status ON records (status, machine, instance);
CREATE INDEX dead_letters_by_key ON dead_letters (machine, instance);
CREATE INDEX message_groups_by_state ON message_groups (blocked, blocked_until_or_rank) WHERE blocked IS NOT NULL;
CREATE INDEX timers_by_due ON timers (due);
COMMIT;
