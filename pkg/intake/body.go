package intake

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/zeebo/xxh3"
)

var (
	errTooLarge   = errors.New("body too large")
	errEncoding   = errors.New("unknown content encoding")
	errCompressed = errors.New("decompressing the body")
)

// readBody reads the whole body, decompressed, into q.body. Both the bytes on
// the wire and what comes out of them are bounded, so that a small body cannot
// unfold into a large one.
func (h *Handler) readBody(w http.ResponseWriter, r *http.Request, q *request) error {
	if r.ContentLength > h.cfg.MaxBodyBytes {
		return errTooLarge
	}
	src := io.Reader(r.Body)
	if r.ContentLength < 0 { // else the server itself stops at that length
		src = http.MaxBytesReader(w, r.Body, h.cfg.MaxBodyBytes)
	}
	compressed := true
	switch encoding := strings.ToLower(strings.TrimSpace(r.Header.Get("Content-Encoding"))); encoding {
	case "", "identity":
		compressed = false
	case "gzip":
		z, err := gzip.NewReader(src)
		if err != nil {
			return bodyFault(err, true)
		}
		defer z.Close()
		src = z
	case "zstd":
		z, err := takeZstd(src)
		if err != nil {
			return bodyFault(err, true)
		}
		defer zstds.Put(z)
		src = z
	default:
		return fmt.Errorf("%w: %q is neither gzip nor zstd", errEncoding, encoding)
	}
	q.body = q.body[:0]
	if n := r.ContentLength; n > 0 && int64(cap(q.body)) < n+1 {
		q.body = make([]byte, 0, n+512)
	}
	for {
		if len(q.body) == cap(q.body) {
			q.body = append(q.body, 0)[:len(q.body)]
		}
		n, err := src.Read(q.body[len(q.body):cap(q.body)])
		q.body = q.body[:len(q.body)+n]
		if int64(len(q.body)) > h.cfg.MaxBodyBytes {
			return errTooLarge
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return bodyFault(err, compressed)
		}
	}
}

func bodyFault(err error, compressed bool) error {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge), errors.Is(err, zstd.ErrDecoderSizeExceeded), errors.Is(err, zstd.ErrWindowSizeExceeded):
		return errTooLarge
	case compressed:
		return fmt.Errorf("%w: %w", errCompressed, err)
	}
	return err
}

var zstds sync.Pool

func takeZstd(src io.Reader) (*zstd.Decoder, error) {
	if z, ok := zstds.Get().(*zstd.Decoder); ok {
		return z, z.Reset(src)
	}
	// One goroutine-less decoder each, and a window that small bodies need.
	return zstd.NewReader(src, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20))
}

func contentHash(b []byte) string { return strconv.FormatUint(xxh3.Hash(b), 16) }
