// Package eventgen plays a population whose truth is known: visitors who land,
// some of whom sign up and later buy, with what a real log has in it besides:
// second devices, shared devices, retried requests, events out of order.
//
// The same seed gives the same events and the same truth, on any machine.
package eventgen

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/hypostream/hypostream/pkg/assign"
	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/experiment"
)

// The experiments that Experiments defines.
const (
	Headline = "landing/headline" // b makes more visitors sign up
	Checkout = "checkout/aa"      // calibration: both arms see the same
	Banner   = "home/banner"      // b's exposures are lost on the way for some: a sample-ratio mismatch
)

// The KPIs that the population sends.
const (
	View     = "view"
	Signup   = "signup"
	Purchase = "purchase"
)

// Chances that make the population. The uplift of Headline's b is
// SignupB/SignupControl - 1 among visitors.
const (
	SignupControl = 0.12
	SignupB       = 0.15
	BuyGivenUser  = 0.45
	BannerLoss    = 0.12 // share of b's banner exposures that never arrive
	SecondDevice  = 0.03 // of those who sign up
	SharedDevice  = 0.02 // of those who sign up
	RepeatVisit   = 0.30
)

// Experiments are the three definitions, running since start.
func Experiments(project string, start time.Time) []*experiment.Experiment {
	half := []experiment.Variant{{Key: "control", Weight: 0.5}, {Key: "b", Weight: 0.5}}
	window := experiment.Duration(7 * 24 * time.Hour)
	return []*experiment.Experiment{
		{
			Project: project, Key: Headline, State: experiment.Running, Start: start, Variants: half,
			Name: "Landing-page headline", Hypothesis: "A headline that names the price makes more visitors sign up.",
			ConversionWindow: window,
			Metrics: []experiment.Metric{
				{Key: "signup_to_purchase", Kind: experiment.Funnel, Steps: []string{Signup, Purchase}},
				{Key: "signups", Kind: experiment.Unique, Event: Signup},
				{Key: "views", Kind: experiment.Count, Event: View},
				{Key: "revenue", Kind: experiment.Sum, Event: Purchase},
			},
		},
		{
			Project: project, Key: Checkout, State: experiment.Calibration, Start: start,
			Variants: []experiment.Variant{{Key: "control", Weight: 1}},
			Name:     "Checkout, both arms alike", Hypothesis: "Nothing differs, so nothing may be found.",
			ConversionWindow: window,
			Metrics: []experiment.Metric{
				{Key: "signups", Kind: experiment.Unique, Event: Signup},
				{Key: "revenue", Kind: experiment.Mean, Event: Purchase},
			},
		},
		{
			Project: project, Key: Banner, State: experiment.Running, Start: start, Variants: half,
			Name: "Home banner", Hypothesis: "A redirect in b loses some exposures: its numbers are not to be trusted.",
			ConversionWindow: window,
			Metrics: []experiment.Metric{
				{Key: "signups", Kind: experiment.Unique, Event: Signup},
			},
		},
	}
}

// Config sizes the population.
type Config struct {
	Seed     uint64
	Visitors int       // first devices; second ones come on top
	Start    time.Time // visits are spread over [Start, End)
	End      time.Time
}

// Truth is what the population really did in one arm of one experiment, by the
// analyzer's rules: what a right analysis must find, to the last unit.
type Truth struct {
	Experiment string
	Variant    string
	Entities   int64 // analysed: seen in this variant alone
	SetAside   int64 // seen in two variants, this one first
	Signups    int64 // entities that signed up inside their window
	Buyers     int64 // entities that then bought
	Views      int64 // view events
	Revenue    int64 // millionths
}

// Population is a played population.
type Population struct {
	Events []event.Event // in the order of time; ids and receipt not set
	truth  map[[2]string]*Truth
}

// person is one visitor with all that follows from it.
type person struct {
	exposures map[string][]exposure // by experiment
	views     []int64
	signup    int64 // 0: never
	buys      []purchase
}

type exposure struct {
	at      int64
	variant string
}

type purchase struct {
	at    int64
	micro int64
}

type generator struct {
	rnd  *rand.Rand
	cfg  Config
	exps []*experiment.Experiment
	out  *Population
	end  int64
}

// New plays a population against the experiments as the registry knows them
// (their integer ids take part in the draw).
func New(cfg Config, exps []*experiment.Experiment) (*Population, error) {
	if cfg.Visitors <= 0 || !cfg.End.After(cfg.Start) {
		return nil, fmt.Errorf("generating a population: want visitors > 0 and end after start, have %d, %s to %s", cfg.Visitors, cfg.Start, cfg.End)
	}
	g := &generator{
		rnd: rand.New(rand.NewPCG(cfg.Seed, 0x9e3779b97f4a7c15)), cfg: cfg, exps: exps,
		out: &Population{truth: map[[2]string]*Truth{}}, end: cfg.End.UnixMicro(),
	}
	for i := range cfg.Visitors {
		g.visitor(i)
	}
	slices.SortStableFunc(g.out.Events, func(a, b event.Event) int { return cmp.Compare(a.Time, b.Time) })
	return g.out, nil
}

func (g *generator) visitor(i int) {
	first := fmt.Sprintf("v-%d-%d", g.cfg.Seed, i)
	user := fmt.Sprintf("u-%d-%d", g.cfg.Seed, i)
	landed := g.cfg.Start.UnixMicro() + g.rnd.Int64N(g.end-g.cfg.Start.UnixMicro())
	p := person{exposures: map[string][]exposure{}}
	g.visit(&p, first, landed)
	if g.rnd.Float64() < RepeatVisit {
		g.visit(&p, first, landed+g.minutes(20, 60*24))
	}
	chance := SignupControl
	for _, x := range g.exps {
		if x.Key == Headline && assign.HypoTest(x, "", first).Variant == "b" {
			chance = SignupB
		}
	}
	if g.rnd.Float64() < chance {
		g.signUp(&p, first, user, landed+g.minutes(1, 30))
	}
	g.count(&p)
}

// visit shows the landing page: one exposure per experiment, and a view.
func (g *generator) visit(p *person, visitor string, at int64) {
	if at >= g.end {
		return
	}
	for k, x := range g.exps {
		v := assign.HypoTest(x, "", visitor).Variant
		t := at + int64(k)
		if x.Key == Banner && v == "b" && g.rnd.Float64() < BannerLoss {
			continue
		}
		p.exposures[x.Key] = append(p.exposures[x.Key], exposure{t, v})
		g.emit(event.Event{Kind: event.Exposure, VisitorID: visitor, Time: t, Experiment: x.Key, Variant: v,
			Tags: []event.Tag{{Key: "sdk_type", Value: event.StringTag("eventgen")}}})
	}
	t := at + 500_000
	if t >= g.end {
		return
	}
	p.views = append(p.views, t)
	g.emit(event.Event{Kind: event.KPI, VisitorID: visitor, Time: t, Name: View, ValueMicro: event.MicroPerUnit})
}

// signUp makes the visitor a user: the match comes after all that the visitor
// did, and what follows is sent under the user's id alone.
func (g *generator) signUp(p *person, visitor, user string, at int64) {
	if at >= g.end {
		return
	}
	p.signup = at
	g.emit(event.Event{Kind: event.Match, VisitorID: visitor, UserID: user, Time: at, Context: "signup"})
	g.emit(event.Event{Kind: event.KPI, UserID: user, Time: at, Name: Signup, ValueMicro: event.MicroPerUnit})
	if g.rnd.Float64() < SecondDevice {
		second := visitor + "-phone"
		later := at + g.minutes(60, 60*48)
		if later < g.end {
			g.visit(p, second, later)
			g.emit(event.Event{Kind: event.Match, VisitorID: second, UserID: user, Time: later + 1_000_000, Context: "login"})
		}
	}
	if g.rnd.Float64() < SharedDevice {
		// Somebody else logs in on this device. The device stays with its
		// first user, and what the other buys is nobody's conversion here.
		other, later := user+"-guest", at+g.minutes(60, 60*24)
		if later < g.end {
			g.emit(event.Event{Kind: event.Match, VisitorID: visitor, UserID: other, Time: later, Context: "login"})
			g.emit(event.Event{Kind: event.KPI, UserID: other, Time: later + 1_000_000, Name: Purchase, ValueMicro: g.price()})
		}
	}
	for g.rnd.Float64() < BuyGivenUser && len(p.buys) < 4 {
		t := at + g.minutes(10, 60*24*9) // some fall outside the conversion window
		if t >= g.end {
			continue
		}
		b := purchase{t, g.price()}
		p.buys = append(p.buys, b)
		g.emit(event.Event{Kind: event.KPI, UserID: user, Time: t, Name: Purchase, ValueMicro: b.micro,
			Tags: []event.Tag{{Key: "plan", Value: event.StringTag("pro")}}})
	}
}

// count books what the person did under the variant it was analysed in.
func (g *generator) count(p *person) {
	for _, x := range g.exps {
		seen := p.exposures[x.Key]
		if len(seen) == 0 {
			continue
		}
		first, switched := seen[0], false
		for _, e := range seen[1:] {
			if e.at < first.at {
				first = e
			}
		}
		for _, e := range seen {
			switched = switched || e.variant != first.variant
		}
		t := g.out.of(x.Key, first.variant)
		if switched {
			t.SetAside++
			continue
		}
		t.Entities++
		end := min(first.at+int64(time.Duration(x.ConversionWindow)/time.Microsecond), g.end)
		in := func(at int64) bool { return at >= first.at && at < end }
		for _, v := range p.views {
			if in(v) {
				t.Views++
			}
		}
		signed := p.signup != 0 && in(p.signup)
		if signed {
			t.Signups++
		}
		bought := false
		for _, b := range p.buys {
			if in(b.at) {
				t.Revenue += b.micro
				bought = bought || b.at > p.signup
			}
		}
		if signed && bought {
			t.Buyers++
		}
	}
}

func (g *generator) emit(e event.Event) { g.out.Events = append(g.out.Events, e) }

// minutes draws a delay, in µs.
func (g *generator) minutes(from, to int64) int64 {
	const minute = int64(time.Minute / time.Microsecond)
	return from*minute + g.rnd.Int64N((to-from)*minute)
}

// price draws a price in whole cents, most of them small.
func (g *generator) price() int64 {
	cents := int64(math.Round(1900 * math.Exp(0.6*g.rnd.NormFloat64())))
	return max(cents, 99) * (event.MicroPerUnit / 100)
}

func (p *Population) of(exp, variant string) *Truth {
	k := [2]string{exp, variant}
	if p.truth[k] == nil {
		p.truth[k] = &Truth{Experiment: exp, Variant: variant}
	}
	return p.truth[k]
}

// Truth is what a right analysis finds in an arm.
func (p *Population) Truth(exp, variant string) Truth { return *p.of(exp, variant) }

// Disorder gives the events in the order in which a network might deliver
// them: each moved by up to reach places. The truth stays the same.
func Disorder(events []event.Event, seed uint64, reach int) []event.Event {
	rnd := rand.New(rand.NewPCG(seed, 1))
	type placed struct{ at, i int }
	order := make([]placed, len(events))
	for i := range events {
		order[i] = placed{i + rnd.IntN(reach+1), i}
	}
	slices.SortStableFunc(order, func(a, b placed) int { return cmp.Compare(a.at, b.at) })
	out := make([]event.Event, len(events))
	for i, p := range order {
		out[i] = events[p.i]
	}
	return out
}
