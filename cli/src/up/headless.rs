//! Reports as JSON lines, for pipes and tests.
use std::io::{self, Write};

use millstream_operator::control::Report;
use tokio::sync::mpsc;

/// Writes one object a line until the reports end. Every line is flushed: a reader may be waiting for it.
pub async fn write_reports(reports: &mut mpsc::Receiver<Report>, out: &mut impl Write) -> io::Result<()> {
    while let Some(report) = reports.recv().await {
        write_report(&report, out)?;
    }
    Ok(())
}

/// Writes one report as one line.
pub fn write_report(report: &Report, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{}", report.to_json())?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use millstream_operator::control::report::{Event, JobSample};

    use super::*;

    #[tokio::test]
    async fn every_report_is_one_line() {
        let (sender, mut reports) = mpsc::channel(4);
        for at_ms in [1, 2] {
            sender.send(Report { at_ms, event: Event::Sample(JobSample::default()) }).await.unwrap();
        }
        drop(sender);
        let mut out = Vec::new();
        write_reports(&mut reports, &mut out).await.unwrap();
        let lines: Vec<serde_json::Value> =
            String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!((lines[1]["at_ms"].as_i64(), lines[1]["kind"].as_str()), (Some(2), Some("sample")));
    }
}
