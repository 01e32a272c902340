package stitch

// Names is a column of strings that recur: each distinct one is kept once.
type Names struct {
	index  map[string]uint32
	values []string
	rows   []uint32
}

// maxNames is how many distinct strings outlive a Reset. Names are few; what
// are not names (a client may put anything there) must not pile up.
const maxNames = 4096

func (n *Names) append(s string) {
	// Runs of one name are the usual case.
	if l := len(n.rows); l > 0 && n.values[n.rows[l-1]] == s {
		n.rows = append(n.rows, n.rows[l-1])
		return
	}
	i, ok := n.index[s]
	if !ok {
		if n.index == nil {
			n.index = map[string]uint32{}
		}
		i = uint32(len(n.values))
		n.index[s] = i
		n.values = append(n.values, s)
	}
	n.rows = append(n.rows, i)
}

func (n *Names) reset() {
	n.rows = n.rows[:0]
	if len(n.values) > maxNames {
		clear(n.index)
		clear(n.values)
		n.values = n.values[:0]
	}
}

// Len is the number of rows.
func (n *Names) Len() int { return len(n.rows) }

// At is row i.
func (n *Names) At(i int) string { return n.values[n.rows[i]] }

// Values are the distinct strings, and maybe more that no row has.
func (n *Names) Values() []string { return n.values }

// Rows are the rows as places in Values.
func (n *Names) Rows() []uint32 { return n.rows }

// Texts is a column of strings of which each may be another: one stretch of
// bytes, so that a full batch is no work for the garbage collector.
type Texts struct {
	bytes []byte
	ends  []int
}

func (t *Texts) append(s string) {
	t.bytes = append(t.bytes, s...)
	t.ends = append(t.ends, len(t.bytes))
}

func (t *Texts) reset() { t.bytes, t.ends = t.bytes[:0], t.ends[:0] }

// Len is the number of rows.
func (t *Texts) Len() int { return len(t.ends) }

// At is row i, valid until Reset.
func (t *Texts) At(i int) []byte {
	from := 0
	if i > 0 {
		from = t.ends[i-1]
	}
	return t.bytes[from:t.ends[i]]
}
