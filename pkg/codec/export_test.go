package codec

// Know makes a schema an earlier version, for tests of what is yet to come.
func (c *Codec) Know(text []byte) error { return c.know(text) }

// Fingerprint shows the fingerprint of any schema.
var Fingerprint = fingerprint

// MaxNames shows how many strings a decoder keeps.
const MaxNames = maxNames

// Kept is how many strings the decoder keeps.
func (d *Decoder) Kept() int { return len(d.names) }
