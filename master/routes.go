package master

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/valyala/fasthttp"

	"weed/internal/httpx"
	"weed/internal/wire"
)

// route hands a request to its handler.
func (m *Master) route(ctx *fasthttp.RequestCtx) {
	switch string(ctx.Path()) {
	case "/dir/assign":
		m.serveAssign(ctx)
	case "/submit":
		m.serveSubmit(ctx)
	case "/dir/lookup":
		m.serveLookup(ctx)
	case "/vol/lookup":
		m.serveVolumeLookup(ctx)
	case wire.PathHeartbeat:
		m.serveHeartbeat(ctx)
	case "/dir/status":
		m.serveDirStatus(ctx)
	case "/vol/status":
		m.serveVolumeStatus(ctx)
	case "/vol/grow":
		m.serveGrow(ctx)
	case "/col/delete":
		m.serveCollectionDelete(ctx)
	case "/delete":
		m.serveDelete(ctx)
	case "/cluster/status":
		m.serveClusterStatus(ctx)
	case "/healthz", "/stats/health":
		m.serveHealth(ctx)
	case "/readyz":
		m.serveReady(ctx)
	case "/metrics":
		if httpx.Allow(ctx, fasthttp.MethodGet) {
			m.metrics.page(ctx)
		}
	default:
		m.serveRedirect(ctx)
	}
}

// refuseHead answers HEAD on a path whose GET changes something.
func refuseHead(ctx *fasthttp.RequestCtx) bool {
	if !ctx.IsHead() {
		return false
	}
	ctx.Response.Header.Set(fasthttp.HeaderAllow, "GET, POST, OPTIONS")
	httpx.Error(ctx, http.StatusMethodNotAllowed, "HEAD is not allowed here, because GET changes something: use GET or POST")
	return true
}

// metricsPage serves the registry.
func metricsPage(m *Master) fasthttp.RequestHandler {
	return httpx.Std(promhttp.HandlerFor(m.deps.Registry, promhttp.HandlerOpts{}))
}
