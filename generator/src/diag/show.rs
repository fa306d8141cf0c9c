//! Diagnostics for people: the line, a caret under the place, reason and mend.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Patch, Renderer, Snippet};

use super::fix::possible;
use super::{Diagnostic, Fix, Severity};

/// All diagnostics, one after the other with an empty line between; ends with a newline unless there are none.
/// `color` adds ANSI escapes. Control characters of the source are shown as symbols.
pub fn render(diagnostics: &[Diagnostic], file_name: &str, source: &str, color: bool) -> String {
    // Terminal hyperlinks are part of the styled renderer only; nothing here sets a URL.
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let shown: Vec<String> = diagnostics
        .iter()
        .map(|d| {
            let groups: Vec<Group<'_>> = std::iter::once(group(d, file_name, source))
                .chain(correction(d, source))
                .collect();
            tidy(&renderer.render(&groups))
        })
        .collect();
    shown.join("\n")
}

fn group<'a>(diagnostic: &'a Diagnostic, file_name: &'a str, source: &'a str) -> Group<'a> {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level
        .primary_title(diagnostic.message.as_str())
        .id(diagnostic.code.as_ref());
    let mut group = match &diagnostic.span {
        Some(span) => {
            let primary = AnnotationKind::Primary.span(within(source, span));
            let label = (!diagnostic.label.is_empty()).then_some(diagnostic.label.as_str());
            let mut snippet = Snippet::source(source).path(file_name).annotation(primary.label(label));
            for (span, label) in &diagnostic.related {
                let context = AnnotationKind::Context.span(within(source, span));
                snippet = snippet.annotation(context.label(label.as_str()));
            }
            title.element(snippet)
        }
        None => title.element(Origin::path(file_name)),
    };
    if let Some(why) = &diagnostic.why {
        group = group.element(Level::NOTE.message(why.as_str()));
    }
    if let (Some(help), []) = (&diagnostic.help, diagnostic.fixes.as_slice()) {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    group
}

/// The help with the lines as they should be.
fn correction<'a>(diagnostic: &'a Diagnostic, source: &'a str) -> Option<Group<'a>> {
    if diagnostic.fixes.is_empty() {
        return None;
    }
    let title = Level::HELP.secondary_title(diagnostic.help.as_deref().unwrap_or("write"));
    // Each edit in a snippet of its own: of several in one only the lines that come are shown, not those that go.
    let shown = possible(source, &diagnostic.fixes)
        .into_iter()
        .map(|fix| Snippet::source(source).patch(Patch::new(visible(source, fix), fix.replacement.as_str())));
    Some(title.elements(shown))
}

/// A line that is taken out before an empty one would be shown as two.
fn visible(source: &str, fix: &Fix) -> Range<usize> {
    let line = source[fix.span.clone()].ends_with('\n') && fix.replacement.is_empty();
    if line && source[fix.span.end..].starts_with('\n') {
        fix.span.start..fix.span.end - 1
    } else {
        fix.span.clone()
    }
}

/// The span cut to the source, at character boundaries and within one line: a caret under twenty lines helps nobody.
fn within(source: &str, span: &Range<usize>) -> Range<usize> {
    let start = boundary(source, span.start.min(source.len()));
    let end = boundary(source, span.end.clamp(start, source.len()));
    let line = source[start..end].find('\n').map_or(end, |newline| start + newline);
    let line = if source[start..line].ends_with('\r') {
        line - 1
    } else {
        line
    };
    start..line
}

fn boundary(source: &str, mut at: usize) -> usize {
    while !source.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// The renderer pads lines with blanks; a text that is compared and pasted should not end in them.
fn tidy(text: &str) -> String {
    let mut tidy: String = text.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    if tidy.is_empty() {
        tidy.push('\n');
    }
    tidy
}
