package master

import (
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/valyala/fasthttp"

	"weed/internal/httpx"
	"weed/internal/wire"
)

// route hands a request to its handler: here what every master answers, the rest to the leader.
func (m *Master) route(ctx *fasthttp.RequestCtx) {
	switch string(ctx.Path()) {
	case wire.PathHeartbeat:
		m.serveHeartbeat(ctx)
	case wire.PathConfigure:
		m.serveConfigure(ctx)
	case "/cluster/status", "/": // at the latter clients see whether anyone is there
		m.serveCluster(ctx)
	case "/healthz", "/stats/health":
		m.serveHealth(ctx)
	case "/readyz":
		m.serveReady(ctx)
	case "/metrics":
		if httpx.Allow(ctx, fasthttp.MethodGet) {
			m.metrics.page(ctx)
		}
	case "/dir/lookup":
		m.serveLookup(ctx)
	case "/vol/lookup":
		m.serveVolumeLookup(ctx)
	default:
		if r, ok := leaderRoutes[string(ctx.Path())]; ok {
			m.byLeader(ctx, &r)
		} else {
			m.serveRedirect(ctx)
		}
	}
}

// leaderRoute is a path on which only the leader answers, here or by one more hop.
type leaderRoute struct {
	methods []string // HEAD among them where GET changes nothing
	decides bool     // it changes something, by what the query or a form says
	serve   func(*term, *fasthttp.RequestCtx)
}

var (
	onlyGet  = []string{fasthttp.MethodGet, fasthttp.MethodHead}
	onlyPost = []string{fasthttp.MethodPost}
	getPost  = []string{fasthttp.MethodGet, fasthttp.MethodPost}
)

var leaderRoutes = map[string]leaderRoute{
	"/dir/assign":       {methods: []string{fasthttp.MethodGet, fasthttp.MethodHead, fasthttp.MethodPost}, serve: (*term).serveAssign},
	"/submit":           {methods: onlyPost, serve: (*term).serveSubmit},
	"/dir/status":       {methods: onlyGet, serve: (*term).serveDirStatus},
	"/vol/status":       {methods: onlyGet, serve: (*term).serveVolumeStatus},
	"/vol/balance":      {methods: onlyGet, serve: (*term).serveBalance},
	"/vol/grow":         {methods: getPost, decides: true, serve: (*term).serveGrow},
	"/col/delete":       {methods: getPost, decides: true, serve: (*term).serveCollectionDelete},
	"/delete":           {methods: onlyPost, decides: true, serve: (*term).serveDelete},
	"/vol/vacuum":       {methods: getPost, decides: true, serve: (*term).serveVacuum},
	"/vol/mark":         {methods: onlyPost, decides: true, serve: (*term).serveMark},
	"/vol/move":         {methods: onlyPost, decides: true, serve: (*term).serveMove},
	"/vol/replicate":    {methods: onlyPost, decides: true, serve: (*term).serveReplicate},
	"/vol/adopt":        {methods: onlyPost, decides: true, serve: (*term).serveAdopt},
	"/server/drain":     {methods: onlyPost, decides: true, serve: (*term).serveDrain},
	"/cluster/remove":   {methods: onlyPost, decides: true, serve: (*term).serveRemove},
	"/cluster/transfer": {methods: onlyPost, decides: true, serve: (*term).serveTransfer},
}

// byLeader has the leader answer. Which methods a path takes every master says by itself.
func (m *Master) byLeader(ctx *fasthttp.RequestCtx, r *leaderRoute) {
	if !httpx.AllowOnly(ctx, r.methods...) {
		if string(ctx.Path()) == "/submit" && !ctx.IsOptions() {
			httpx.Error(ctx, fasthttp.StatusMethodNotAllowed, "Only submit via POST!") // which clients know
		}
		return
	}
	t := m.leading()
	if t == nil {
		m.passOn(ctx)
	} else if !r.decides || t.decides(ctx) {
		r.serve(t, ctx)
	}
}

// metricsPage serves the registry.
func metricsPage(m *Master) fasthttp.RequestHandler {
	return httpx.Std(promhttp.HandlerFor(m.deps.Registry, promhttp.HandlerOpts{}))
}
