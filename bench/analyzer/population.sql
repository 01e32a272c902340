-- A population in the engine: three exposures for seven KPIs over 90 days, of
-- visitors alone (70 %), users alone (25 %) and both (5 %); six in ten visitors
-- are matched with a user, one in twenty of them with a second; one event in
-- two hundred is stored twice. {from}, {to} number the events.

-- matches
INSERT INTO matches_raw (project, visitor, user, event_id, time, received_at, visitor_id, user_id, topic_partition, offset)
SELECT 'bench', cityHash64('v', v), cityHash64('u', u), generateUUIDv4(), at, at, concat('visitor-', toString(v)), concat('user-', toString(u)), v % 8, number
FROM (
  SELECT number, number % {matched:UInt64} AS v,
    if(number < {matched:UInt64}, cityHash64('owner', v), cityHash64('second', v)) % {users:UInt64} AS u,
    fromUnixTimestamp64Micro(toInt64({start:Int64} + (cityHash64('at', number) % 30 + if(number < {matched:UInt64}, 0, 40)) * 86400000000), 'UTC') AS at
  FROM numbers({matched:UInt64} + intDiv({matched:UInt64}, 20))
);

-- exposures
INSERT INTO exposures_raw (project, experiment, anchor, user, event_id, time, received_at, variant, visitor_id, user_id, tags, topic_partition, offset)
SELECT 'bench', if(r % 3 < 2, 'checkout', 'search'), if(visitor != '', cityHash64('v', v), cityHash64('u', u)), if(user != '', cityHash64('u', u), 0),
  reinterpretAsUUID(concat(reinterpretAsFixedString(cityHash64('id', i)), reinterpretAsFixedString(toUInt64(i)))), at, at + toIntervalSecond(r % 60),
  if(if(r % 200 = 7, cityHash64('switch', i), if(user != '' OR v < {matched:UInt64}, cityHash64('arm', 'u', u), cityHash64('arm', 'v', v))) % 2 = 0, 'control', 'b'),
  visitor, user, map('page', concat('/p/', toString(r % 200)), 'sdk_type', 'python3', 'sdk_version', '1.0.9'), i % 8, i
FROM (
  SELECT least(number, {to:UInt64} - 1 - (number >= {to:UInt64}) * (cityHash64('again', number) % ({to:UInt64} - {from:UInt64}))) AS i,
    cityHash64('exposure', i) AS r, cityHash64('visitor', r) % {visitors:UInt64} AS v,
    if(r % 20 < 14 OR r % 20 = 19, concat('visitor-', toString(v)), '') AS visitor,
    if(r % 20 >= 14, if(v < {matched:UInt64}, cityHash64('owner', v), cityHash64('user', r)), cityHash64('owner', v)) % {users:UInt64} AS u,
    if(r % 20 >= 14, concat('user-', toString(u)), '') AS user,
    fromUnixTimestamp64Micro(toInt64({start:Int64} + cityHash64('time', r) % (90 * 86400000000)), 'UTC') AS at
  FROM numbers({from:UInt64}, {to:UInt64} - {from:UInt64} + intDiv({to:UInt64} - {from:UInt64}, 200))
);

-- kpis
INSERT INTO kpis_raw (project, name, anchor, user, event_id, time, received_at, value_micro, visitor_id, user_id, tags, topic_partition, offset)
SELECT 'bench', multiIf(r % 100 < 36, 'view', r % 100 < 56, 'open', r % 100 < 70, 'click', r % 100 < 82, 'search', r % 100 < 92, 'signup', 'purchase'),
  if(visitor != '', cityHash64('v', v), cityHash64('u', u)), if(user != '', cityHash64('u', u), 0),
  reinterpretAsUUID(concat(reinterpretAsFixedString(cityHash64('kpi id', i)), reinterpretAsFixedString(toUInt64(i)))), at, at + toIntervalSecond(r % 60),
  toInt64(cityHash64('value', r) % 100000000),
  visitor, user, map('page', concat('/p/', toString(r % 200)), 'sdk_type', 'python3', 'sdk_version', '1.0.9'), i % 8, i
FROM (
  SELECT least(number, {to:UInt64} - 1 - (number >= {to:UInt64}) * (cityHash64('again', number) % ({to:UInt64} - {from:UInt64}))) AS i,
    cityHash64('kpi', i) AS r, cityHash64('visitor', r) % {visitors:UInt64} AS v,
    if(r % 20 < 14 OR r % 20 = 19, concat('visitor-', toString(v)), '') AS visitor,
    if(r % 20 >= 14, if(v < {matched:UInt64}, cityHash64('owner', v), cityHash64('user', r)), cityHash64('owner', v)) % {users:UInt64} AS u,
    if(r % 20 >= 14, concat('user-', toString(u)), '') AS user,
    fromUnixTimestamp64Micro(toInt64({start:Int64} + cityHash64('time', r) % (90 * 86400000000)), 'UTC') AS at
  FROM numbers({from:UInt64}, {to:UInt64} - {from:UInt64} + intDiv({to:UInt64} - {from:UInt64}, 200))
);
