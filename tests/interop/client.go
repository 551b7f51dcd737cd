// What an installed program does with our servers: "client AUTHORITY CERTIFICATE KEY BUILDS-PORT IMAGES-PORT STREAM".
//
// It builds, in gob and in JSON, fetches the image with its objects, adds it again with a file of its own under
// "copied/v1", and prints what it has seen, a line each.
package main

import (
	"crypto/sha512"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

func check(err error) {
	if err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
}

func open(port, path string, asJson bool) *line {
	connection, err := net.DialTimeout("tcp", "127.0.0.1:"+port, 10*time.Second)
	check(err)
	fmt.Fprintf(connection, "CONNECT %s HTTP/1.0\n\n", path)
	answer, err := preamble(connection)
	check(err)
	if answer != greeting+"\n\n" {
		check(fmt.Errorf("greeted with %q", answer))
	}
	config, err := secrets(os.Args[1], os.Args[2], os.Args[3])
	check(err)
	config.ServerName = "localhost"
	secured := tls.Client(connection, config)
	check(secured.Handshake())
	l := newLine(secured, asJson)
	// Programs on the same host ask for a Unix socket first, and go on without.
	if _, err := l.call(".LocalUpgradeToUnix"); err == nil {
		check(fmt.Errorf("a Unix socket was offered"))
	}
	return l
}

func build(l *line, stream string) string {
	talk, err := l.call("Imaginator.BuildImage")
	check(err)
	request := BuildImageRequest{StreamName: stream, ExpiresIn: time.Hour, StreamBuildLog: true}
	check(talk.Encode(request))
	check(l.words())
	log := 0
	for {
		var response BuildImageResponse
		check(talk.Decode(&response))
		log += len(response.BuildLog)
		if response.ErrorString != "" {
			check(fmt.Errorf("build: %s", response.ErrorString))
		}
		if response.ImageName != "" {
			fmt.Println("built", response.ImageName, log > 0)
			return response.ImageName
		}
	}
}

func fetch(l *line, name string) (*Image, map[Hash][]byte) {
	var response GetImageResponse
	check(l.ask("ImageServer.GetImage", GetImageRequest{ImageName: name}, &response))
	var request GetObjectsRequest
	for _, inode := range response.Image.FileSystem.InodeTable {
		if file, regular := inode.(*RegularInode); regular && file.Size > 0 {
			request.Hashes = append(request.Hashes, file.Hash)
		}
	}
	talk, err := l.call("ObjectServer.GetObjects")
	check(err)
	check(talk.Encode(request))
	check(l.Flush())
	var sizes GetObjectsResponse
	check(talk.Decode(&sizes))
	objects := make(map[Hash][]byte)
	for place, size := range sizes.ObjectSizes {
		data := make([]byte, size)
		_, err := io.ReadFull(l, data)
		check(err)
		if sha512.Sum512(data) != request.Hashes[place] {
			check(fmt.Errorf("object %d is another one", place))
		}
		objects[request.Hashes[place]] = data
	}
	return response.Image, objects
}

func add(l *line, image *Image) {
	content := []byte("added by a program of Go's")
	talk, err := l.call("ObjectServer.AddObjects")
	check(err)
	check(talk.Encode(AddObjectRequest{Length: uint64(len(content))}))
	l.Write(content)
	check(l.Flush())
	var added AddObjectResponse // before the next one is sent
	check(talk.Decode(&added))
	check(talk.Encode(AddObjectRequest{}))
	tree := image.FileSystem
	tree.InodeTable[1 << 20] = &RegularInode{Mode: 0100644, MtimeSeconds: 5, Size: uint64(len(content)), Hash: added.Hash}
	tree.EntryList = append(tree.EntryList, &DirectoryEntry{Name: "added", InodeNumber: 1 << 20})
	image.CreatedOn = time.Now()
	request := AddImageRequest{ImageName: "copied/v1", Image: image}
	check(l.ask("ImageServer.AddImage", request, &AddImageResponse{}))
	fmt.Println("added", added.Added)
}

func main() {
	register()
	builds, images, stream := os.Args[4], os.Args[5], os.Args[6]
	build(open(builds, "/_SRPC_/TLS/JSON", true), stream)
	l := open(builds, "/_go_TLS_SRPC_/", false)
	name := build(l, stream)
	var dependencies GetDependenciesResponse
	check(l.ask("Imaginator.GetDependencies", GetDependenciesRequest{}, &dependencies))
	fmt.Println("source", dependencies.StreamToSource[stream])
	l = open(images, "/_go_TLS_SRPC_/", false)
	image, objects := fetch(l, name)
	fmt.Println("fetched", len(image.FileSystem.InodeTable), len(objects))
	add(l, image)
	var latest FindLatestImageResponse
	check(l.ask("ImageServer.FindLatestImage", FindLatestImageRequest{DirectoryName: "copied"}, &latest))
	fmt.Println("latest", latest.ImageName)
}
