//! The definitions of the custom resources as files: one each for the chart, both for people without Helm.
use anyhow::{Context, Result};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use millstream_api::crd;

use crate::yaml;

const HEADER: &str = "# Generated from the types in api/ by `make generate`.\n";

/// Every file with its text.
pub fn files() -> Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    let mut all = HEADER.to_owned();
    for definition in crd::definitions() {
        let text = text(&definition)?;
        files.push((
            format!("charts/millstream/files/crds/{}.yaml", definition.spec.names.plural),
            format!("{HEADER}{text}"),
        ));
        all.push_str(&format!("---\n{text}"));
    }
    files.push(("manifests/crds.yaml".to_owned(), all));
    Ok(files)
}

fn text(definition: &CustomResourceDefinition) -> Result<String> {
    let value = serde_json::to_value(definition).context("cannot write a definition as JSON")?;
    Ok(yaml::document(&value))
}
