// Checks the Prometheus operator's resources in a list that `kubectl kustomize` made:
// custom_resources.js FILE.json
import { readFileSync } from "node:fs";
import * as operator from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1";

const group = "monitoring.coreos.com/v1";
let failed = false;
for (const resource of JSON.parse(readFileSync(process.argv[2], "utf8"))) {
  if (resource.apiVersion !== group) continue;
  const Kind = operator[resource.kind];
  try {
    if (!Kind) throw new Error("this kind is not known");
    new Kind(resource).validate();
    console.log(`${resource.kind} ${resource.metadata.name} is valid`);
  } catch (error) {
    console.error(`${resource.kind} ${resource.metadata.name}: ${error.message}`);
    failed = true;
  }
}
process.exit(failed ? 1 : 0);
