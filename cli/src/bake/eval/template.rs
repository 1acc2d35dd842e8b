//! Text with expressions in it.

use super::{Evaluator, Scope, pairs};
use crate::bake::error::{BakeError, BakeResult, Span};
use crate::bake::syntax::{Expression, Part};
use crate::bake::value::Value;

/// The longest text that a template may come to.
const MAX_LENGTH: usize = 64 << 20;

impl Evaluator<'_> {
    /// A text, or of `"${x}"` the value of `x`.
    pub(super) fn template(&self, parts: &[Part], span: &Span) -> BakeResult<Value> {
        if let [Part::Interpolation(expression)] = parts {
            return self.evaluate(expression);
        }
        let mut text = String::new();
        self.parts(parts, &mut text)?;
        if text.len() > MAX_LENGTH {
            return Err(BakeError::new("this text is too long").at(span));
        }
        Ok(Value::String(text))
    }

    fn parts(&self, parts: &[Part], text: &mut String) -> BakeResult<()> {
        for part in parts {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Interpolation(expression) => text.push_str(&self.text(expression)?),
                Part::If { condition, then, otherwise } => {
                    self.parts(if self.condition(condition)? { then } else { otherwise }, text)?;
                }
                Part::For { key, value, collection, body } => {
                    let items = pairs(&self.evaluate(collection)?).map_err(|error| error.at(&collection.span))?;
                    for (name, item) in items {
                        let mut names = vec![(value.as_str(), item)];
                        names.extend(key.as_deref().map(|key| (key, name)));
                        let scope = Scope::new(Some(self.scope), names);
                        Evaluator::new(self.globals, &scope).parts(body, text)?;
                    }
                }
            }
            if text.len() > MAX_LENGTH {
                return Ok(());
            }
        }
        Ok(())
    }

    fn text(&self, expression: &Expression) -> BakeResult<String> {
        self.evaluate(expression)?.to_text().map_err(|error| error.at(&expression.span))
    }
}
