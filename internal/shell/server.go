package shell

import (
	"context"
	"io"
)

var serverCommands = []Spec{
	{
		Name: "server.list", Short: "List the volume servers with their places and slots.",
		Example: "server.list",
		New:     func() Command { return new(serverList) },
	},
}

type serverList struct {
	noArgs
	output
}

func (c *serverList) Run(ctx context.Context, e *Env) error {
	servers, err := e.Client.ServerList(ctx)
	if err != nil {
		return err
	}
	return c.print(e, servers, func(w io.Writer) {
		t := newTable("SERVER", "PUBLIC URL", "DATA CENTER", "RACK", ">VOLUMES", ">FREE", ">MAX")
		for _, s := range servers {
			t.add(s.URL, s.PublicURL, s.DataCenter, s.Rack, s.Volumes, s.Free, s.Max)
		}
		t.write(w)
	})
}

func completeServers(ctx context.Context, e *Env) ([]string, error) {
	servers, err := e.Client.ServerList(ctx)
	var urls []string
	for _, s := range servers {
		urls = append(urls, s.URL)
	}
	return urls, err
}

func completeDataCenters(ctx context.Context, e *Env) ([]string, error) {
	servers, err := e.Client.ServerList(ctx)
	var names []string
	for _, s := range servers {
		names = append(names, s.DataCenter)
	}
	return names, err
}

func completeRacks(ctx context.Context, e *Env) ([]string, error) {
	servers, err := e.Client.ServerList(ctx)
	var names []string
	for _, s := range servers {
		names = append(names, s.Rack)
	}
	return names, err
}
