// An image server in memory, on Go's standard library: "server AUTHORITY CERTIFICATE KEY" prints its port and serves.
//
// A line on standard input is answered with what it has: one line for each image, NAME INODES OBJECTS LOG-BYTES.
package main

import (
	"bufio"
	"crypto/sha512"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path"
	"sort"
	"strings"
	"sync"
)

type store struct {
	sync.Mutex
	directories map[string]bool
	images      map[string]*Image
	objects     map[Hash][]byte
}

func (s *store) serve(l *line) error {
	for {
		if err := l.Flush(); err != nil {
			return err
		}
		text, err := l.ReadString('\n')
		if err != nil {
			return err
		}
		method := strings.TrimSpace(text)
		if method == "" {
			fmt.Fprintln(l)
			continue
		}
		answer, known := s.methods()[method]
		if !known {
			fmt.Fprintf(l, "unknown method: %s\n", method)
			continue
		}
		fmt.Fprintln(l)
		if err := l.Flush(); err != nil {
			return err
		}
		if err := answer(l, l.fresh()); err != nil {
			return err
		}
	}
}

type handler func(*line, coder) error

// reply is the handler of a method with one value each way.
func reply[Q, A any](answer func(Q) (A, error)) handler {
	return func(l *line, talk coder) error {
		var request Q
		if err := talk.Decode(&request); err != nil {
			return err
		}
		response, err := answer(request)
		if err != nil {
			fmt.Fprintf(l, "%s\n", err)
			return nil
		}
		fmt.Fprintln(l)
		return talk.Encode(response)
	}
}

func (s *store) methods() map[string]handler {
	return map[string]handler{
		"ImageServer.AddImage":              reply(s.addImage),
		"ImageServer.ChangeImageExpiration": reply(s.changeExpiry),
		"ImageServer.FindLatestImage":       reply(s.findLatest),
		"ImageServer.GetImage":              reply(s.getImage),
		"ImageServer.MakeDirectory":         reply(s.makeDirectory),
		"ObjectServer.AddObjects":           s.addObjects,
		"ObjectServer.CheckObjects":         reply(s.checkObjects),
		"ObjectServer.GetObjects":           s.getObjects,
	}
}

func (s *store) addImage(request AddImageRequest) (AddImageResponse, error) {
	s.Lock()
	defer s.Unlock()
	if _, there := s.images[request.ImageName]; there {
		return AddImageResponse{}, errors.New("image: " + request.ImageName + " already exists")
	}
	if !s.directories[path.Dir(request.ImageName)] {
		return AddImageResponse{}, errors.New("unknown directory: " + path.Dir(request.ImageName))
	}
	for _, inode := range request.Image.FileSystem.InodeTable {
		if file, regular := inode.(*RegularInode); regular && file.Size > 0 {
			if uint64(len(s.objects[file.Hash])) != file.Size {
				return AddImageResponse{}, fmt.Errorf("object missing: %x", file.Hash)
			}
		}
	}
	s.images[request.ImageName] = request.Image
	return AddImageResponse{}, nil
}

func (s *store) changeExpiry(request ChangeImageExpirationRequest) (ChangeImageExpirationResponse, error) {
	s.Lock()
	defer s.Unlock()
	if image, there := s.images[request.ImageName]; there {
		image.ExpiresAt = request.ExpiresAt
		return ChangeImageExpirationResponse{}, nil
	}
	return ChangeImageExpirationResponse{Error: "image not found"}, nil
}

func (s *store) findLatest(request FindLatestImageRequest) (FindLatestImageResponse, error) {
	s.Lock()
	defer s.Unlock()
	if !s.directories[request.DirectoryName] {
		return FindLatestImageResponse{}, errors.New("unknown directory: " + request.DirectoryName)
	}
	latest := ""
	for name, image := range s.images {
		if path.Dir(name) == request.DirectoryName &&
			(latest == "" || image.CreatedOn.After(s.images[latest].CreatedOn)) {
			latest = name
		}
	}
	return FindLatestImageResponse{ImageName: latest}, nil
}

func (s *store) getImage(request GetImageRequest) (GetImageResponse, error) {
	s.Lock()
	defer s.Unlock()
	image, there := s.images[request.ImageName]
	if !there {
		return GetImageResponse{}, nil
	}
	answered := *image
	if request.IgnoreFilesystem {
		answered.FileSystem = nil
	}
	return GetImageResponse{Image: &answered}, nil
}

func (s *store) makeDirectory(request MakeDirectoryRequest) (MakeDirectoryResponse, error) {
	s.Lock()
	defer s.Unlock()
	for name := request.DirectoryName; name != "."; name = path.Dir(name) {
		s.directories[name] = true
	}
	return MakeDirectoryResponse{}, nil
}

func (s *store) addObjects(l *line, talk coder) error {
	for {
		var request AddObjectRequest
		if err := talk.Decode(&request); err != nil {
			return err
		}
		if request.Length == 0 {
			return nil
		}
		data := make([]byte, request.Length)
		if _, err := io.ReadFull(l, data); err != nil {
			return err
		}
		response := AddObjectResponse{Hash: sha512.Sum512(data)}
		s.Lock()
		_, there := s.objects[response.Hash]
		response.Added = !there
		s.objects[response.Hash] = data
		s.Unlock()
		if request.ExpectedHash != nil && *request.ExpectedHash != response.Hash {
			response.ErrorString = "another hash"
		}
		if err := talk.Encode(response); err != nil {
			return err
		}
	}
}

func (s *store) checkObjects(request CheckObjectsRequest) (CheckObjectsResponse, error) {
	s.Lock()
	defer s.Unlock()
	var response CheckObjectsResponse
	for _, hash := range request.Hashes {
		response.ObjectSizes = append(response.ObjectSizes, uint64(len(s.objects[hash])))
	}
	return response, nil
}

func (s *store) getObjects(l *line, talk coder) error {
	var request GetObjectsRequest
	if err := talk.Decode(&request); err != nil {
		return err
	}
	s.Lock()
	defer s.Unlock()
	var response GetObjectsResponse
	for _, hash := range request.Hashes {
		response.ObjectSizes = append(response.ObjectSizes, uint64(len(s.objects[hash])))
	}
	if err := talk.Encode(response); err != nil {
		return err
	}
	for _, hash := range request.Hashes {
		if _, err := l.Write(s.objects[hash]); err != nil {
			return err
		}
	}
	return nil
}

func (s *store) tell() {
	s.Lock()
	defer s.Unlock()
	var names []string
	for name := range s.images {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		image := s.images[name]
		log := 0
		if image.BuildLog != nil && image.BuildLog.Object != nil {
			log = len(s.objects[*image.BuildLog.Object])
		}
		fmt.Println(name, len(image.FileSystem.InodeTable), len(s.objects), log)
	}
	fmt.Println()
}

func (s *store) accept(connection net.Conn, config *tls.Config) {
	defer connection.Close()
	request, err := preamble(connection)
	if err != nil || !strings.HasPrefix(request, "CONNECT /_go_TLS_SRPC_/ HTTP/1.0") {
		fmt.Fprint(connection, "HTTP/1.0 404 Not Found\r\n\r\n")
		return
	}
	fmt.Fprint(connection, greeting+"\n\n")
	secured := tls.Server(connection, config)
	if err := secured.Handshake(); err == nil {
		s.serve(newLine(secured, false))
	}
}

func main() {
	register()
	config, err := secrets(os.Args[1], os.Args[2], os.Args[3])
	if err != nil {
		panic(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	s := &store{directories: map[string]bool{}, images: map[string]*Image{}, objects: map[Hash][]byte{}}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go s.accept(connection, config)
		}
	}()
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	for input := bufio.NewScanner(os.Stdin); input.Scan(); {
		s.tell()
	}
}
