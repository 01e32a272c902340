"""clickhouse-connect against the engine: argv is host, port, database."""
import datetime
import sys
import uuid

import clickhouse_connect

host, port, database = sys.argv[1], int(sys.argv[2]), sys.argv[3]
for compress in (True, False, "lz4", "zstd", "gzip"):
    client = clickhouse_connect.get_client(host=host, port=port, database=database, compress=compress)
    assert client.ping()
    client.command("DROP TABLE IF EXISTS t")
    client.command(
        "CREATE TABLE t (a UInt64, s LowCardinality(String), id UUID, time DateTime64(6, 'UTC'),"
        " tags Map(LowCardinality(String), String), l Array(UInt64), n Nullable(Float64), i Int128)"
        " ENGINE = MergeTree ORDER BY a"
    )
    time = datetime.datetime(2026, 2, 3, 4, 5, 6, 789012, tzinfo=datetime.timezone.utc)
    rows = [
        [2**64 - 1 - i, f"s{i % 5}", uuid.UUID(int=i), time, {"k": f"v\n{i}"}, [i] * (i % 3), None if i % 2 else i / 2, -(2**100) - i]
        for i in range(1000)
    ]
    assert client.insert("t", rows, column_names=["a", "s", "id", "time", "tags", "l", "n", "i"]).written_rows == 1000
    got = client.query("SELECT * FROM t ORDER BY a DESC").result_rows
    # The client gives times in UTC without a zone.
    naive = [[x.replace(tzinfo=None) if isinstance(x, datetime.datetime) else x for x in r] for r in rows]
    assert [list(r) for r in got] == naive, got[:2]
    assert client.query("SELECT count() FROM t WHERE s = {s:String}", parameters={"s": "s1"}).result_rows == [(200,)]
    assert client.query("SELECT toString(getSetting('max_threads'))", settings={"max_threads": 3}).result_rows == [("3",)]
    assert client.query("SELECT number FROM numbers(300000)").row_count == 300000
    assert client.command("SELECT 13") == 13
    assert client.query("SELECT 1 WHERE 0").result_rows == []
    with client.query_row_block_stream("SELECT number FROM numbers(200000)") as stream:
        assert sum(len(block) for block in stream) == 200000
    try:
        client.query("SELECT * FROM nope")
        raise AssertionError("an unknown table went unnoticed")
    except clickhouse_connect.driver.exceptions.DatabaseError as error:
        assert "UNKNOWN_TABLE" in str(error) or "60" in str(error), error
    client.close()
print("ok")
