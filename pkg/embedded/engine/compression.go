package engine

import (
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"strings"

	chcompress "github.com/ClickHouse/ch-go/compress"
	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

var errEncoding = newError(codeUnknownCompression, "UNKNOWN_COMPRESSION_METHOD", "Unknown Content-Encoding: gzip, deflate, br, zstd and lz4 are known")

// decodeBody undoes a request's Content-Encoding.
func decodeBody(body io.Reader, encoding string) (io.Reader, func(), error) {
	nothing := func() {}
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "", "identity":
		return body, nothing, nil
	case "gzip", "x-gzip":
		r, err := gzip.NewReader(body)
		if errors.Is(err, io.EOF) {
			return strings.NewReader(""), nothing, nil
		}
		return r, nothing, err
	case "deflate":
		r, err := zlib.NewReader(body)
		return r, nothing, err
	case "br":
		return brotli.NewReader(body), nothing, nil
	case "zstd":
		r, err := zstd.NewReader(body, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(1<<30))
		if err != nil {
			return nil, nothing, err
		}
		return r, r.Close, nil
	case "lz4":
		return lz4.NewReader(body), nothing, nil
	}
	return nil, nothing, errEncoding
}

// encodeBody picks a Content-Encoding that the client accepts.
func encodeBody(w io.Writer, accept string) (string, io.WriteCloser) {
	offered := map[string]bool{}
	for part := range strings.SplitSeq(accept, ",") {
		name, quality, _ := strings.Cut(part, ";")
		if strings.ReplaceAll(quality, " ", "") != "q=0" {
			offered[strings.ToLower(strings.TrimSpace(name))] = true
		}
	}
	switch {
	case offered["zstd"]:
		if z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1)); err == nil {
			return "zstd", z
		}
	case offered["lz4"]:
		return "lz4", lz4.NewWriter(w)
	case offered["gzip"]:
		if z, err := gzip.NewWriterLevel(w, flate.BestSpeed); err == nil {
			return "gzip", z
		}
	}
	return "", nil
}

// framedWriter writes ClickHouse's own compressed frames (compress=1): LZ4 or
// ZSTD blocks, each with its CityHash.
type framedWriter struct {
	to  io.Writer
	w   *chcompress.Writer
	buf []byte
}

const frameSize = 1 << 20

func newFramedWriter(to io.Writer, method string) *framedWriter {
	m := chcompress.LZ4
	if strings.EqualFold(method, "ZSTD") {
		m = chcompress.ZSTD
	}
	return &framedWriter{to: to, w: chcompress.NewWriter(0, m)}
}

func (f *framedWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		k := min(len(p), frameSize-len(f.buf))
		f.buf = append(f.buf, p[:k]...)
		p = p[k:]
		if len(f.buf) == frameSize {
			if err := f.Flush(); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

// Flush writes a frame of what has come since the last.
func (f *framedWriter) Flush() error {
	if len(f.buf) == 0 {
		return nil
	}
	if err := f.w.Compress(f.buf); err != nil {
		return err
	}
	f.buf = f.buf[:0]
	_, err := f.to.Write(f.w.Data)
	return err
}

// framedReader reads ClickHouse's own compressed frames (decompress=1).
type framedReader struct {
	from  countingReader
	r     *chcompress.Reader
	whole int64 // bytes taken up to the end of the last whole frame
	err   error // the first; ch-go's reader, asked again after it, gives the last frame again
}

type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func newFramedReader(from io.Reader) *framedReader {
	f := &framedReader{from: countingReader{r: from}}
	f.r = chcompress.NewReader(&f.from)
	return f
}

func (f *framedReader) Read(p []byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	n, err := f.r.Read(p)
	if n > 0 {
		f.whole = f.from.n
		return n, nil
	}
	// The reader wraps its EOF, also one within a frame.
	if errors.Is(err, io.EOF) {
		if err = io.EOF; f.from.n != f.whole {
			err = io.ErrUnexpectedEOF
		}
	}
	f.err = err
	return 0, err
}
