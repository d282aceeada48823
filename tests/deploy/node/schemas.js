// Makes JSON schemas of Grafana's published types: schemas.js FOLDER
//
// A dashboard's file is checked against these. Grafana publishes TypeScript only, whose own check of
// a JSON file knows no enumerations.
import { mkdirSync, writeFileSync } from "node:fs";
import { createGenerator } from "ts-json-schema-generator";

const types = "node_modules/@grafana/schema/dist/types/raw";
const panel = (name) => `${types}/composable/${name}/panelcfg/x/types.gen.d.ts`;

const wanted = {
  dashboard: [`${types}/dashboard/x/types.gen.d.ts`, "Dashboard"],
  "stat.options": [panel("stat"), "Options"],
  "state-timeline.options": [panel("statetimeline"), "Options"],
  "state-timeline.custom": [panel("statetimeline"), "FieldConfig"],
  "timeseries.options": [panel("timeseries"), "Options"],
  "timeseries.custom": [panel("timeseries"), "FieldConfig"],
};

const folder = process.argv[2];
mkdirSync(folder, { recursive: true });
for (const [name, [path, type]] of Object.entries(wanted)) {
  const schema = createGenerator({ path, type, skipTypeCheck: true }).createSchema(type);
  writeFileSync(`${folder}/${name}.json`, JSON.stringify(schema));
}
