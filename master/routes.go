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
	case "/cluster/remove":
		m.change(ctx, (*term).serveRemove)
	case "/cluster/transfer":
		m.change(ctx, (*term).serveTransfer)
	case "/vol/mark":
		m.change(ctx, (*term).serveMark)
	case "/vol/move":
		m.change(ctx, (*term).serveMove)
	case "/vol/replicate":
		m.change(ctx, (*term).serveReplicate)
	case "/vol/adopt":
		m.change(ctx, (*term).serveAdopt)
	case "/server/drain":
		m.change(ctx, (*term).serveDrain)
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
	case "/dir/assign", "/submit", "/dir/status", "/vol/status", "/vol/grow", "/vol/balance", "/col/delete", "/delete":
		if t := m.leading(); t != nil {
			t.route(ctx)
		} else {
			m.passOn(ctx)
		}
	default:
		m.serveRedirect(ctx)
	}
}

// route answers what only the leader does.
func (t *term) route(ctx *fasthttp.RequestCtx) {
	switch string(ctx.Path()) {
	case "/dir/assign":
		t.serveAssign(ctx)
	case "/submit":
		t.serveSubmit(ctx)
	case "/dir/status":
		t.serveDirStatus(ctx)
	case "/vol/status":
		t.serveVolumeStatus(ctx)
	case "/vol/grow":
		t.serveGrow(ctx)
	case "/vol/balance":
		t.serveBalance(ctx)
	case "/col/delete":
		t.serveCollectionDelete(ctx)
	case "/delete":
		t.serveDelete(ctx)
	}
}

// metricsPage serves the registry.
func metricsPage(m *Master) fasthttp.RequestHandler {
	return httpx.Std(promhttp.HandlerFor(m.deps.Registry, promhttp.HandlerOpts{}))
}
