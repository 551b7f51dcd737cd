// Says again, in Go's own gob, what it was told: the shapes of imaginator/srpc, declared once more.
//
// A request is a line "NAME LENGTH" and a gob stream of that length, which holds one value of the type with that name. The
// answer is a line with a length and the same value, decoded and encoded again; or "0 REASON" where it cannot be decoded.
package main

import (
	"bufio"
	"bytes"
	"encoding/gob"
	"fmt"
	"io"
	"os"
	"reflect"
)

func known() map[string]reflect.Type {
	values := []interface{}{
		AddImageRequest{}, AddImageResponse{}, ChangeImageExpirationRequest{}, ChangeImageExpirationResponse{},
		CheckDirectoryRequest{}, CheckDirectoryResponse{}, CheckImageRequest{}, CheckImageResponse{},
		DeleteImageRequest{}, DeleteImageResponse{}, FindLatestImageRequest{}, FindLatestImageResponse{},
		GetImageExpirationRequest{}, GetImageExpirationResponse{}, GetImageRequest{}, GetImageResponse{},
		ListSelectedImagesRequest{}, MakeDirectoryRequest{}, MakeDirectoryResponse{}, DirectoryMetadata{}, Directory{},
		AddObjectRequest{}, AddObjectResponse{}, CheckObjectsRequest{}, CheckObjectsResponse{}, GetObjectsRequest{},
		GetObjectsResponse{}, BuildImageRequest{}, BuildImageResponse{}, GetDependenciesRequest{}, Nothing{},
		GetDependenciesResult{}, GetDependenciesResponse{}, GetFilteredImageUpdatesRequest{}, ImageUpdate{},
		GetDirectedGraphRequest{}, GetDirectedGraphResult{}, GetDirectedGraphResponse{}, DisableAutoBuildsRequest{},
		DisableAutoBuildsResponse{}, DisableBuildRequestsRequest{}, DisableBuildRequestsResponse{},
		StartAutoBuildsRequest{}, StartAutoBuildsResponse{},
	}
	types := make(map[string]reflect.Type)
	for _, value := range values {
		types[reflect.TypeOf(value).Name()] = reflect.TypeOf(value)
	}
	return types
}

func mirrored(kind reflect.Type, said []byte) ([]byte, error) {
	value := reflect.New(kind)
	if err := gob.NewDecoder(bytes.NewReader(said)).DecodeValue(value); err != nil {
		return nil, err
	}
	var again bytes.Buffer
	err := gob.NewEncoder(&again).EncodeValue(value)
	return again.Bytes(), err
}

func main() {
	register()
	types := known()
	reader, writer := bufio.NewReader(os.Stdin), bufio.NewWriter(os.Stdout)
	for {
		var name string
		var length int
		if _, err := fmt.Fscanf(reader, "%s %d\n", &name, &length); err != nil {
			return
		}
		said := make([]byte, length)
		if _, err := io.ReadFull(reader, said); err != nil {
			return
		}
		if again, err := mirrored(types[name], said); err != nil {
			fmt.Fprintf(writer, "0 %s\n", err)
		} else {
			fmt.Fprintf(writer, "%d\n", len(again))
			writer.Write(again)
		}
		writer.Flush()
	}
}
