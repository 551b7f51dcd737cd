// A build asked for, followed and fetched by clients from npm: node node_clients.js MODULES jayson|xmlrpc SETTINGS
"use strict";

const fs = require("fs");
const https = require("https");
const path = require("path");
const { promisify } = require("util");

const [modules, which, text] = process.argv.slice(2);
const settings = JSON.parse(text);
const identity = {
  host: "localhost",
  port: settings.port,
  ca: fs.readFileSync(settings.authority),
  cert: fs.readFileSync(settings.certificate),
  key: fs.readFileSync(settings.key),
};

function caller() {
  const library = require(path.join(modules, which));
  if (which === "xmlrpc") {
    const client = library.createSecureClient({ ...identity, path: "/RPC2" });
    const call = promisify(client.methodCall.bind(client));
    return (method, parameters) => call(method, [parameters]);
  }
  const client = library.Client.https({ ...identity, path: "/jsonrpc" });
  const request = promisify(client.request.bind(client));
  return async (method, parameters) => {
    const answer = await request(method, parameters);
    if (answer.error) throw answer.error;
    return answer.result;
  };
}

const get = (page) =>
  new Promise((resolve, reject) => {
    const collect = (answer) => {
      const parts = [];
      answer.on("data", (part) => parts.push(part));
      answer.on("end", () => resolve(Buffer.concat(parts)));
    };
    https.get({ ...identity, path: page }, collect).on("error", reject);
  });

async function main() {
  const call = caller();
  const refusal = await call("Imaginator.SubmitBuild", { StreamName: "no/such" }).catch((error) => error);
  const wanted = { StreamName: settings.stream, ExpiresIn: 3600, MaxSourceAge: 86400 };
  const { BuildId } = await call("Imaginator.SubmitBuild", wanted);
  const log = await get(`/showBuildLog?${BuildId}&follow`);
  const build = await call("Imaginator.BuildImage", wanted);
  fs.writeFileSync(settings.output, await get(`/getImage?${build.ImageName}`));
  const code = refusal.faultCode ?? refusal.code;
  console.log(JSON.stringify({ code, log: log.toString(), image: build.ImageName }));
}

main();
