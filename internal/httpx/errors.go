package httpx

import (
	"errors"
	"log/slog"
	"strconv"

	"github.com/valyala/fasthttp"
)

// ErrorRow says how failures of one kind are answered.
type ErrorRow struct {
	Kind              error // what errors.Is compares with
	Status            int
	Text              string // for the client: what to do; "" shows the error's own
	RetryAfterSeconds int    // 0 sends no header
	Logged            bool   // the operator hears of it, with the error's own text
}

// ErrorTable maps the errors of a server to answers; the first row that fits counts. The errors of this
// package need no rows.
type ErrorTable []ErrorRow

// bodyErrors are the rows for the errors of this package.
var bodyErrors = ErrorTable{
	{Kind: ErrTooLarge, Status: fasthttp.StatusRequestEntityTooLarge, Text: "the body is larger than this server takes: send less, or raise its limit"},
	{Kind: ErrBusy, Status: fasthttp.StatusTooManyRequests, Text: "too many uploads are in flight: try again in a moment", RetryAfterSeconds: 1},
	{Kind: ErrBodyTimeout, Status: fasthttp.StatusRequestTimeout, Text: "the body did not arrive in time: send it again over a faster connection"},
	{Kind: ErrBodyBroken, Status: fasthttp.StatusBadRequest, Text: "the body ended early or is malformed: send it again"},
}

// unknownError is for what no table knows: its text is not for clients.
var unknownError = ErrorRow{Status: fasthttp.StatusInternalServerError, Text: "the server failed on this request: its log says why", Logged: true}

// Fail answers a request that failed with err, wrapped or not, by the row that fits. Without one it answers 500,
// and only log hears what has happened. Headers that the handler has set stay.
func (t ErrorTable) Fail(ctx *fasthttp.RequestCtx, log *slog.Logger, err error) {
	row := t.find(err)
	if row.Logged {
		log.Error("request failed", "method", string(ctx.Method()), "path", string(ctx.Path()), "error", err)
	}
	row.answer(ctx, err)
}

func (t ErrorTable) find(err error) *ErrorRow {
	for _, table := range [...]ErrorTable{bodyErrors, t} {
		for i := range table {
			if errors.Is(err, table[i].Kind) {
				return &table[i]
			}
		}
	}
	return &unknownError
}

func (r *ErrorRow) answer(ctx *fasthttp.RequestCtx, err error) {
	text := r.Text
	if text == "" {
		text = err.Error()
	}
	if r.RetryAfterSeconds > 0 {
		ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, strconv.Itoa(r.RetryAfterSeconds))
	}
	Error(ctx, r.Status, text)
}
