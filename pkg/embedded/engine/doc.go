// Package engine runs the ClickHouse engine inside this process and puts
// ClickHouse's HTTP interface in front of it, so that clickhouse-go (by an
// http:// data source name), clickhouse-connect, Grafana and curl use it as
// they use a server.
//
// The engine is the shared library libchdb, which `make engine` installs. It is
// bound without cgo. It serves one machine: it has no users, cluster,
// replication or query log. What is written against it runs on a ClickHouse
// server unchanged.
//
//	s, err := engine.Start(ctx, engine.Config{DataDir: "data/clickhouse"})
//	…
//	defer s.Close()
//	db, err := clickhouse.Open(must(clickhouse.ParseDSN(s.DSN())))
//
// # How a query goes
//
// Each request has a connection to the engine of its own (opening one takes
// 0.2 ms), so that no setting, database or temporary table of one reaches
// another; a session_id keeps one between requests. The settings in the URL are
// set on it, param_* are handed to the engine as values. Results whose format
// allows it are sent piece by piece. A client that goes away ends its query.
//
// The data of an INSERT are put into a file in memory (/dev/shm if it has
// room), and the engine reads them from there: the library cuts binary data
// that stand in a statement at line ends.
//
// The library writes the Native format at protocol revision 0. A client that
// names a client_protocol_version gets the few bytes that its revision adds;
// the column data are walked, never decoded. Types whose values cannot be walked
// (AggregateFunction, JSON, Dynamic, Variant) are refused there: other formats
// carry them.
//
// # Differences from a server
//
//   - DROP … SYNC never returns in the library: SYNC is taken out, and the
//     table's files go a little later.
//   - async_insert is off: an INSERT that returned is in the table.
//   - query_id names the response, not the engine's process; log_comment is the
//     server's own, by which it finds a query to cancel.
//   - In a session, a setting given in the URL goes back to its default after
//     the query, not to what the session had SET.
//   - A query in a session comes by POST.
//   - External tables (multipart/form-data) and progress headers are missing.
//
// # Traps, for whoever changes this package
//
//   - Opening the engine takes the process's signal handlers, among them Go's of
//     SIGSEGV, and the library's own switch for that resets them to the default
//     (so does every later connection): see keepSignals.
//   - A process that exits with a connection open crashes: Close is not optional.
//   - The library repeats a format's header and footer with every piece of a
//     stream: only formats without them are streamed.
//   - A piece being fetched cannot be cancelled from another thread; KILL QUERY
//     can end it.
//   - One data directory a process, and one process a data directory.
//   - Without implicit_select=0 the library takes an unknown word for SELECT.
package engine
