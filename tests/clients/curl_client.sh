#!/bin/sh
# A build asked for, followed and fetched by curl and a little sed: curl_client.sh URL AUTHORITY CERTIFICATE KEY STREAM OUTPUT
set -eu
url=$1 stream=$5 output=$6
identity="--silent --show-error --fail-with-body --cacert $2 --cert $3 --key $4"

call() {
    curl $identity --json "{\"jsonrpc\": \"2.0\", \"id\": 1, \"method\": \"$1\", \"params\": $2}" "$url/jsonrpc"
}

field() {
    sed "s/.*\"$1\":\"\{0,1\}\([^\",]*\).*/\1/"
}

code=$(call Imaginator.SubmitBuild '{"StreamName": "no/such"}' | field code)
wanted="{\"StreamName\": \"$stream\", \"ExpiresIn\": 3600, \"MaxSourceAge\": 86400}"
build=$(call Imaginator.SubmitBuild "$wanted" | field BuildId)
log=$(curl $identity --no-buffer "$url/showBuildLog?$build&follow" | grep 'made for')
image=$(call Imaginator.BuildImage "$wanted" | field ImageName)
curl $identity --output "$output" "$url/getImage?$image"
printf '{"code": %s, "log": "%s", "image": "%s"}\n' "$code" "$log" "$image"
