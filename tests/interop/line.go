// SRPC on Go's standard library: what client.go and server.go have in common.
package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

const greeting = "HTTP/1.0 200 Connected to Go SRPC"

type coder interface {
	Encode(value interface{}) error
	Decode(value interface{}) error
}

type gobCoder struct {
	*gob.Encoder
	*gob.Decoder
}

type jsonCoder struct {
	*json.Encoder
	*json.Decoder
	reader *bufio.Reader
}

// Decode takes one line: the decoder of Go would read on.
func (c jsonCoder) Decode(value interface{}) error {
	line, err := c.reader.ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, value)
}

// A line is a connection once it is open.
type line struct {
	io.Closer
	*bufio.Reader
	*bufio.Writer
	json bool
}

func newLine(connection *tls.Conn, asJson bool) *line {
	return &line{connection, bufio.NewReader(connection), bufio.NewWriter(connection), asJson}
}

// fresh makes the coder of one call.
func (l *line) fresh() coder {
	if l.json {
		return jsonCoder{json.NewEncoder(l.Writer), nil, l.Reader}
	}
	return gobCoder{gob.NewEncoder(l.Writer), gob.NewDecoder(l.Reader)}
}

// words reads a line, which tells why not unless it is empty.
func (l *line) words() error {
	if err := l.Flush(); err != nil {
		return err
	}
	text, err := l.ReadString('\n')
	if err != nil {
		return err
	}
	if text = strings.TrimSuffix(text, "\n"); text != "" {
		return errors.New(text)
	}
	return nil
}

// call begins a call.
func (l *line) call(method string) (coder, error) {
	fmt.Fprintf(l, "%s\n", method)
	if err := l.words(); err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	return l.fresh(), nil
}

// ask makes a call with one value each way.
func (l *line) ask(method string, request, response interface{}) error {
	talk, err := l.call(method)
	if err != nil {
		return err
	}
	if err := talk.Encode(request); err != nil {
		return err
	}
	if err := l.words(); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	return talk.Decode(response)
}

// secrets are the certificates of one side, from files.
func secrets(authority, certificate, key string) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(authority)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	return &tls.Config{
		Certificates: []tls.Certificate{pair},
		RootCAs:      pool,
		ClientCAs:    pool,
		ClientAuth:   tls.RequireAndVerifyClientCert,
	}, nil
}

// preamble reads up to an empty line, and nothing that comes after it.
func preamble(connection io.Reader) (string, error) {
	var text []byte
	for !strings.HasSuffix(string(text), "\n\n") && !strings.HasSuffix(string(text), "\n\r\n") {
		one := make([]byte, 1)
		if _, err := io.ReadFull(connection, one); err != nil {
			return string(text), err
		}
		text = append(text, one[0])
	}
	return string(text), nil
}
